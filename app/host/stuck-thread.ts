import { Session, type Debugger } from "node:inspector";
import { basename } from "node:path";
import { runningNowKey, type LoopHolder } from "./loop-state.ts";

export interface StuckCode {
  /** Whose code it is; null: no agent's. */
  readonly holder: LoopHolder | null;
  /** Innermost first, as `function (file:line:column)`. */
  readonly where: readonly string[];
}

const maxFrames = 5;

/**
 * The main thread, as a debugger sees it from another thread: it can be stopped in the middle of a loop and asked where it
 * is and whose code that is. One that is stuck outside of JavaScript is stopped when it comes back.
 */
export class StuckThread {
  readonly #session = new Session();
  readonly #files = new Map<string, string>();
  #frames: readonly Debugger.CallFrame[] = [];

  /** Stops the main thread, for good, and tells what it was doing; undefined if it cannot be stopped within `timeoutMs`. */
  async stop(timeoutMs: number): Promise<StuckCode | undefined> {
    const looked = Promise.withResolvers<StuckCode | undefined>();
    const timer = setTimeout(() => looked.resolve(undefined), timeoutMs);
    this.#session.connectToMainThread();
    this.#session.on("Debugger.scriptParsed", ({ params: { scriptId, url } }) =>
      this.#files.set(scriptId, basename(url)),
    );
    this.#session.once("Debugger.paused", ({ params: { callFrames } }) => {
      this.#frames = callFrames;
      const where = callFrames.slice(0, maxFrames).map((frame) => this.#describe(frame));
      this.#evaluate(`globalThis[Symbol.for(${JSON.stringify(runningNowKey)})]?.()`, (value) =>
        looked.resolve({ where, holder: parseHolder(value) }),
      );
    });
    this.#session.post("Debugger.enable");
    this.#session.post("Debugger.pause");
    try {
      return await looked.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Has the stopped thread end the process: where the process is the first of a container it takes no SIGKILL from itself. */
  exit(code: number): void {
    this.#evaluate(`process.reallyExit(${code})`, () => {});
  }

  #evaluate(expression: string, answer: (value: unknown) => void): void {
    const [frame] = this.#frames;
    if (frame === undefined) return;
    const { callFrameId } = frame;
    const request = { callFrameId, expression, returnByValue: true, silent: true };
    this.#session.post(
      "Debugger.evaluateOnCallFrame",
      request,
      (_error: Error | null, reply?: Debugger.EvaluateOnCallFrameReturnType) => answer(reply?.result.value),
    );
  }

  #describe({ functionName, location }: Debugger.CallFrame): string {
    const file = this.#files.get(location.scriptId) ?? "unknown";
    return `${functionName || "anonymous"} (${file}:${location.lineNumber + 1}:${(location.columnNumber ?? 0) + 1})`;
  }
}

function parseHolder(json: unknown): LoopHolder | null {
  return typeof json === "string" ? (JSON.parse(json) as LoopHolder | null) : null;
}
