/** The demo did not go as promised; the message is for the person in front of it. */
export class DemoError extends Error {
  override readonly name = "DemoError";
}
