import { writeSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import type { CrashReport } from "../storage/crash-notes.ts";
import { beatEveryMs, LoopState, type LoopHolder } from "./loop-state.ts";
import { StuckThread } from "./stuck-thread.ts";
import type { UncaughtMessage, WatchdogData } from "./watchdog.ts";

/** Until the main thread has answered a debugger; in a loop of JavaScript it takes milliseconds. */
const lookWithinMs = 2_000;
/** Until the store has taken a note. */
const noteWithinMs = 3_000;
const exitCode = 1;

/** What notes need is loaded a little later than all that the first request needs. */
const loadAfterMs = 2_000;

const { memory, limitMs, store, dataFolder } = workerData as WatchdogData;
const state = new LoopState(memory);
const limitTicks = Math.ceil(limitMs / beatEveryMs);
let beats = state.beats;
let ticksWithoutBeat = 0;
let isReporting = false;
let noting: ReturnType<typeof loadNoting> | undefined;

setTimeout(() => void (noting ??= loadNoting()).catch(() => {}), loadAfterMs).unref();

// By own ticks, never by a clock: when the whole process was stopped, or its machine suspended, no tick came either.
const ticking = setInterval(() => {
  const before = beats;
  beats = state.beats;
  ticksWithoutBeat = beats === before && !state.debugged ? ticksWithoutBeat + 1 : 0;
  if (ticksWithoutBeat >= limitTicks) void endStandstill();
}, beatEveryMs);

parentPort?.on("message", (message: UncaughtMessage) => void reportUncaught(message));

async function endStandstill(): Promise<void> {
  if (isReporting) return;
  isReporting = true;
  clearInterval(ticking);
  const main = new StuckThread();
  const seen = await main.stop(lookWithinMs).catch(() => undefined);
  const holder = seen === undefined ? state.lastEntered : seen.holder;
  const where = seen?.where ?? [];
  const held = `the event loop was held for ${limitMs / 1_000} s`;
  say({ event: "standstill", ...holder, where }, `${held} ${byWhom(holder)}: this host ends`);
  await leaveNote(holder, { reason: "standstill", error: null, where });
  process.kill(process.pid, "SIGKILL");
  main.exit(exitCode);
}

async function reportUncaught({ holder, error }: UncaughtMessage): Promise<void> {
  if (isReporting) return;
  isReporting = true;
  clearInterval(ticking);
  const facts = { event: "uncaught", ...holder, err: error };
  say(facts, `an exception was caught by nobody, ${byWhom(holder)}: this host ends`);
  const where = framesOf(error.stack);
  await leaveNote(holder, { reason: "exception", error: error.type, where });
  state.markReported();
}

async function leaveNote(
  holder: LoopHolder | null,
  facts: Pick<CrashReport, "reason" | "error" | "where">,
): Promise<void> {
  if (holder === null) return;
  const { tenant, run, agent, seq } = holder;
  try {
    const { CrashNotes, openStore } = await (noting ??= loadNoting());
    const notes = new CrashNotes(openStore(store.url, store.settings), dataFolder, tenant);
    const left = notes.leave({ id: run, seq }, { ...facts, agent, at: Date.now() });
    const late = sleep(noteWithinMs).then(() => {
      throw new Error(`the store did not take it within ${noteWithinMs / 1_000} s`);
    });
    await Promise.race([left, late]);
  } catch (error) {
    const why = (error as Error).message;
    say({ tenant, run, agent }, `the note of this crash is not everywhere where it should be: ${why}`);
  }
}

async function loadNoting() {
  const [{ CrashNotes }, { openStore }] = await Promise.all([
    import("../storage/crash-notes.ts"),
    import("../storage/open-store.ts"),
  ]);
  return { CrashNotes, openStore };
}

/** Places only, as a debugger gives them: a message may tell what a run works on. */
function framesOf(stack: string): readonly string[] {
  const frames = [...stack.matchAll(/^\s+at (?:(.+?) \()?([^()\n]+:\d+:\d+)\)?$/gm)];
  return frames.slice(0, 5).map(([, name, file = ""]) => `${name ?? "anonymous"} (${basename(file)})`);
}

function byWhom(holder: LoopHolder | null): string {
  return holder === null ? "by no agent's code" : `by run "${holder.run}" of agent "${holder.agent}"`;
}

/** A line of the log, past the main thread, through which a thread's streams go. */
function say(facts: Readonly<Record<string, unknown>>, message: string): void {
  writeSync(2, `${JSON.stringify({ level: 60, time: Date.now(), ...facts, msg: message })}\n`);
}
