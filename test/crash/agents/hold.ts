import { setTimeout as sleep } from "node:timers/promises";
import { defineAgent } from "holdfast";
import { z } from "zod";

/** After a step that ends, one that brings its host down; the message that it throws must not be found in the store. */
export const hold = defineAgent(
  {
    id: "hold",
    input: z.object({ how: z.enum(["loop", "promises", "wait", "throw"]), secret: z.string() }),
  },
  async ({ input: { how, secret }, step }) => {
    await step.run("before", () => sleep(1));
    await step.run("hold", async () => {
      await sleep(1);
      if (how === "loop") spin();
      if (how === "promises") await starve();
      // Blocked outside of JavaScript.
      if (how === "wait") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      setTimeout(() => {
        throw new RangeError(secret);
      }, 1);
      await sleep(60_000);
    });
  },
);

function spin(): void {
  for (;;);
}

/** Goes on from promise to promise, so that no timer ever comes. */
async function starve(): Promise<void> {
  for (;;) await Promise.resolve();
}
