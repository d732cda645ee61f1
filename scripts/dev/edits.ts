import { existsSync, watch } from "node:fs";
import { basename, join } from "node:path";

/** What the worker is made of; an editor's swap and backup files are not. */
const watched = /\.(?:[cm]?[jt]sx?|json|sql|html|css|md|txt|ya?ml)$/;

/** A folder with more is no source folder. */
const maxPending = 1_000;

export interface Edits {
  /** Resolves with the files that were edited since the last call, once they have been at rest for the debounce time. */
  next(): Promise<readonly string[]>;
  /** Forgets what was edited up to now: the worker that is about to start sees it anyway. */
  clear(): void;
  close(): void;
}

/** Watches the folders that exist, with all below them. */
export function watchEdits(folders: readonly string[], debounceMs: number): Edits {
  const closing = new AbortController();
  const pending = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let waiter: ((files: readonly string[]) => void) | undefined;
  const deliver = (): void => {
    timer = undefined;
    if (waiter === undefined || pending.size === 0) return;
    waiter([...pending]);
    waiter = undefined;
    pending.clear();
  };
  const take = (file: string): void => {
    if (pending.size < maxPending) pending.add(file);
    clearTimeout(timer);
    timer = setTimeout(deliver, debounceMs);
  };
  for (const folder of folders.filter((name) => existsSync(name))) {
    watch(folder, { recursive: true, signal: closing.signal }, (_, name) => {
      if (name !== null && !basename(name).startsWith(".") && watched.test(name)) take(join(folder, name));
    }).on("error", () => {
      // A folder that is removed while it is watched: what it held has been reported.
    });
  }
  return {
    next() {
      const { promise, resolve } = Promise.withResolvers<readonly string[]>();
      waiter = resolve;
      if (timer === undefined) deliver();
      return promise;
    },
    clear() {
      pending.clear();
    },
    close() {
      closing.abort();
      clearTimeout(timer);
    },
  };
}
