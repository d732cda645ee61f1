import type { Settings } from "./settings.ts";

/** What `fly secrets set` would be given. */
export const newSecret = "$(openssl rand -base64 32)";

/** One, or two while rotating: the first signs, all verify. */
export function readTokenSecrets(settings: Settings): readonly string[] {
  const name = "HOLDFAST_TOKEN_SECRET";
  const text = settings.text(name);
  if (text === undefined) {
    settings.refuse(
      name,
      `is not set: it signs the tokens of requests. Make one by: openssl rand -base64 32`,
      newSecret,
    );
    return [];
  }
  const secrets = text.split(",").map((secret) => secret.trim());
  if (secrets.length > 2) settings.refuse(name, "holds more than two secrets, comma-separated", newSecret);
  if (secrets.some((secret) => Buffer.byteLength(secret) < 32))
    settings.refuse(
      name,
      "holds a secret shorter than 32 bytes. Make one by: openssl rand -base64 32",
      newSecret,
    );
  return secrets;
}
