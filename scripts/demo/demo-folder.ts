import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";

import { projectFolder } from "../dev/project-folder.ts";

export interface DemoFolder {
  readonly path: string;
  readonly data: string;
  /** HOLDFAST_STORE. */
  readonly store: string;
  /** What the store is called in front of a person. */
  readonly storeName: string;
}

/** A folder of its own for each demo, below `.holdfast/demo/`; on S3 a prefix of its own, below the given one. */
export async function makeDemoFolder(s3Store: string | undefined): Promise<DemoFolder> {
  const parent = join(projectFolder, ".holdfast/demo");
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const path = await mkdtemp(join(parent, `${new Date().toISOString().slice(0, 19).replace(/[^\d]/g, "")}-`));
  const data = join(path, "data");
  if (s3Store === undefined) {
    const folder = join(path, "store");
    return { path, data, store: `file:${folder}`, storeName: folder };
  }
  const store = belowPrefix(s3Store, path.slice(parent.length + 1).toLowerCase());
  return { path, data, store, storeName: store.split("?")[0] ?? store };
}

/** Throws if it is no `s3://bucket…` URL. */
export function belowPrefix(store: string, name: string): string {
  const match = /^(s3:\/\/[^/?#]+(?:\/[^?#]*)?)(\?[^#]*)?$/.exec(store);
  if (match?.[1] === undefined)
    throw new Error(`--store must be s3://bucket/prefix?endpoint=…; it is "${store}".`);
  return `${match[1].replace(/\/+$/, "")}/${name}${match[2] ?? ""}`;
}
