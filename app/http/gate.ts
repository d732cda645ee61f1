import type { Context } from "hono";
import type { ListedRun } from "../engine/journal.ts";
import type { Tenant } from "../host/host.ts";
import type { HttpEnv } from "./request-context.ts";

/**
 * Holds an answer back until everything that it rests on is durable, errors included: that a run is missing is state too.
 * Throws NotDurableError, and then nothing is left of the answer.
 */
export async function gate(c: Context<HttpEnv>, tenant: Tenant): Promise<void> {
  if (tenant.durability !== "replicated" && c.var.durability !== "replicated") return;
  try {
    await tenant.durable();
  } catch (error) {
    // Hono would merge the headers of the withheld answer, such as its Location, into the problem.
    c.res = undefined;
    throw error;
  }
}

/** An answer about a run is held back as that run asks, also where its tenant asks for less. */
export function answersFor(c: Context<HttpEnv>, run: Pick<ListedRun, "durability">): void {
  if (run.durability === "replicated") c.set("durability", "replicated");
}
