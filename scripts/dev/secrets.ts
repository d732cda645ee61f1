import { randomBytes } from "node:crypto";
import { chmod, link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

import { z } from "zod";

export interface Secrets {
  /** For HOLDFAST_TOKEN_SECRET. */
  readonly tokenSecret: string;
  /** For HOLDFAST_MASTER_KEY: 32 bytes in base64. */
  readonly masterKey: string;
}

const stored = z.object({ tokenSecret: z.string().min(32), masterKey: z.string().length(44) });

/**
 * The secrets of this clone, made when there are none yet. Only the owner of the file can read it.
 * Throws if the file is there and unreadable: new secrets would make what is already stored unreadable for good.
 */
export async function loadSecrets(file: string): Promise<Secrets> {
  const existing = await readSecrets(file);
  if (existing !== undefined) return existing;
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const secrets = {
    tokenSecret: randomBytes(32).toString("base64url"),
    masterKey: randomBytes(32).toString("base64"),
  };
  try {
    await writeFile(draft, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag: "wx" });
    // A link is made whole or not at all, and never over the file of another process that was faster.
    await link(draft, file).catch((error: unknown) => {
      if (!isCode(error, "EEXIST")) throw error;
    });
  } finally {
    await rm(draft, { force: true });
  }
  const made = await readSecrets(file);
  if (made === undefined) throw new Error(`The secrets in ${file} vanished while they were made.`);
  return made;
}

async function readSecrets(file: string): Promise<Secrets | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
  // A copy, or a folder on another file system, may have opened it to others.
  await chmod(file, 0o600);
  try {
    return stored.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(
      `${file} does not hold the secrets that were written there. Restore it; without it, what the local store holds stays sealed. ` +
        `To begin anew, delete the whole folder ${dirname(file)}.`,
      { cause },
    );
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
