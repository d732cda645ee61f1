import { describe, expect, test } from "vitest";
import type { EpochNote } from "../../app/storage/data-folder.ts";
import type { LocalFiles } from "../../app/storage/local-files.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import type { ParkedFile } from "../../app/storage/parked-file.ts";

/** A disk without any file, and what happens to it besides. */
export interface LocalFilesUnderTest {
  readonly files: LocalFiles;
  readonly store: ObjectStore;
  /** Commits a fact to the file at the path, which is made if need be, and leaves it as a killed process does. */
  readonly write: (path: string, fact: string) => Promise<void>;
  /** The facts of the file; null if there is none. */
  readonly facts: (path: string) => Promise<readonly string[] | null>;
  /** Takes the last commit away. */
  readonly shorten: (path: string) => Promise<void>;
  readonly damage: (path: string) => Promise<void>;
  /** As Litestream does when it has taken a transaction from the file. */
  readonly noteShipped: (path: string, txid: number) => Promise<void>;
}

const note: EpochNote = { bootId: "boot", from: { epoch: 0, txid: 0 }, released: null };

/** What placing a file relies on in every LocalFiles. */
export function localFilesContract(kind: string, open: () => Promise<LocalFilesUnderTest>): void {
  const withFile = async (epoch: number, fact: string): Promise<LocalFilesUnderTest> => {
    const subject = await open();
    await makeFile(subject, epoch, fact);
    return subject;
  };

  describe(`local files: ${kind}`, () => {
    test("the newest epoch is the highest that has both a file and a note", async () => {
      const subject = await open();
      const { files } = subject;
      expect(await files.newest("acme")).toBeUndefined();
      await makeFile(subject, 9, "old");
      await makeFile(subject, 10, "new");
      await files.writeNote("acme", 11, note);
      await files.scratch("acme", 12);
      expect(await files.newest("acme")).toEqual({ epoch: 10, note });
      expect(await files.newest("other")).toBeUndefined();
    });

    test("a note replaces the one before", async () => {
      const { files } = await withFile(1, "a");
      const next = { ...note, bootId: null, released: { txid: 3 } };
      await files.writeNote("acme", 1, next);
      expect((await files.newest("acme"))?.note).toEqual(next);
    });

    test("what is discarded is gone, and nothing else", async () => {
      const subject = await withFile(1, "a");
      const { files } = subject;
      await makeFile(subject, 2, "b");
      await makeFile(subject, 3, "c");
      await files.discard("acme", 3);
      await files.discard("acme", 4);
      expect((await files.newest("acme"))?.epoch).toBe(2);
      await files.discardOthers("acme", 1);
      expect((await files.newest("acme"))?.epoch).toBe(1);
      expect(await subject.facts(files.path("acme", 2))).toBe(null);
      await files.discardOthers("other", 1);
    });

    test("a file that is kept moves with its note, and nothing is left of what stood there", async () => {
      const subject = await withFile(1, "a");
      const { files } = subject;
      await makeFile(subject, 2, "another");
      await files.keep("acme", { from: 1, to: 2 });
      expect(await subject.facts(files.path("acme", 2))).toEqual(["a"]);
      expect(await subject.facts(files.path("acme", 1))).toBe(null);
      expect(await files.newest("acme")).toEqual({ epoch: 2, note });
    });

    test("a file that was set aside is taken back as it was", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      const parked = await setAside(subject, path);
      const taken = await subject.files.takeBack(path, parked);
      if (taken.kind === "lost") throw new Error(taken.why);
      expect(await subject.facts(path)).toEqual(["a"]);
      taken.hold.release();
      expect(await subject.facts(path)).toEqual(["a"]);
    });

    test.each<[string, (subject: LocalFilesUnderTest, path: string) => Promise<void>]>([
      ["written", (subject, path) => subject.write(path, "b")],
      ["cut", (subject, path) => subject.shorten(path)],
      ["lost", (subject) => subject.files.discard("acme", 1)],
      ["shipped", (subject, path) => subject.noteShipped(path, 7)],
    ])("a file that was %s since it was set aside is not taken back", async (_, change) => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      const parked = await setAside(subject, path);
      await change(subject, path);
      const why: unknown = expect.stringMatching(/^(it|its|the file|somebody) /);
      expect(await subject.files.takeBack(path, parked)).toEqual({ kind: "lost", why });
    });

    test("a file that is kept is new to Litestream", async () => {
      const subject = await withFile(1, "a");
      const { files, store } = subject;
      files.leaveWitness(files.path("acme", 1));
      await subject.noteShipped(files.path("acme", 1), 1);
      await store.put(ltxKey(1, 1), "");
      expect(await files.findLoss(files.path("acme", 1), store, "tenants/acme/e1")).toBe(null);
      await files.keep("acme", { from: 1, to: 2 });
      expect(await files.findLoss(files.path("acme", 2), store, "tenants/acme/e1")).toMatch(/txid 0.* 1/);
    });

    test("what is restored is no file before it is adopted", async () => {
      const subject = await open();
      const { files } = subject;
      const scratch = await files.scratch("acme", 2);
      expect(await subject.facts(scratch)).toBe(null);
      await subject.write(scratch, "restored");
      await files.check(scratch);
      await files.writeNote("acme", 2, note);
      expect(await files.newest("acme")).toBeUndefined();
      await files.adopt("acme", 2);
      expect(await files.newest("acme")).toEqual({ epoch: 2, note });
      expect(await subject.facts(files.path("acme", 2))).toEqual(["restored"]);
      expect(await subject.facts(scratch)).toBe(null);
    });

    test("a scratch name is free again after a restore that was cut off", async () => {
      const subject = await open();
      const scratch = await subject.files.scratch("acme", 2);
      await subject.write(scratch, "half");
      expect(await subject.files.scratch("acme", 2)).toBe(scratch);
      expect(await subject.facts(scratch)).toBe(null);
    });

    test("a restored file that is damaged is refused", async () => {
      const subject = await open();
      const scratch = await subject.files.scratch("acme", 2);
      await subject.write(scratch, "restored");
      await subject.damage(scratch);
      await expect(subject.files.check(scratch)).rejects.toThrow(/damaged/);
    });

    test("a file that was settled and packed is the same where it is unpacked; what is none is refused", async () => {
      const subject = await withFile(1, "a");
      const { files } = subject;
      await subject.write(files.path("acme", 1), "b");
      files.settle(files.path("acme", 1));
      const packed = await files.pack(files.path("acme", 1));
      const scratch = await files.scratch("acme", 2);
      await files.unpack(packed ?? new Uint8Array(), scratch);
      await files.check(scratch);
      await files.adopt("acme", 2);
      expect(await subject.facts(files.path("acme", 2))).toEqual(["a", "b"]);
      const torn = (packed ?? new Uint8Array()).subarray(1);
      await expect(files.unpack(torn, await files.scratch("acme", 3))).rejects.toThrow(/./);
    });

    test("a file on which nothing was acknowledged lacks nothing, unless it is damaged", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      expect(await subject.files.findLoss(path, subject.store, null)).toBe(null);
      await subject.damage(path);
      expect(await subject.files.findLoss(path, subject.store, null)).not.toBe(null);
    });

    test("a file that is as long as at its last round, or longer, lacks nothing", async () => {
      const { files, store, ...subject } = await withFile(1, "a");
      const path = files.path("acme", 1);
      await subject.noteShipped(path, 1);
      await store.put(ltxKey(1, 1), "");
      files.leaveWitness(path);
      expect(await files.findLoss(path, store, "tenants/acme/e1")).toBe(null);
      await subject.write(path, "b");
      await subject.noteShipped(path, 2);
      expect(await files.findLoss(path, store, "tenants/acme/e1")).toBe(null);
    });

    test("a file that is shorter than at its last round has lost something", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      await subject.write(path, "b");
      subject.files.leaveWitness(path);
      await subject.shorten(path);
      expect(await subject.files.findLoss(path, subject.store, null)).toMatch(/shorter|gone/);
    });

    test("a file of a marked epoch without word of its last round is not believed", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      expect(await subject.files.findLoss(path, subject.store, "tenants/acme/e1")).toMatch(/no record/);
    });

    test("a file that Litestream has seen less of than the store holds was set back", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      subject.files.leaveWitness(path);
      await subject.noteShipped(path, 3);
      await subject.store.put(ltxKey(1, 4), "");
      expect(await subject.files.findLoss(path, subject.store, "tenants/acme/e1")).toMatch(/txid 3.* 4/);
    });

    test("a file that was settled is whole, and its settling is word of that", async () => {
      const subject = await withFile(1, "a");
      const path = subject.files.path("acme", 1);
      await subject.write(path, "b");
      subject.files.settle(path);
      expect(await subject.facts(path)).toEqual(["a", "b"]);
      expect(await subject.files.findLoss(path, subject.store, "tenants/acme/e1")).toBe(null);
    });
  });
}

async function makeFile({ files, write }: LocalFilesUnderTest, epoch: number, fact: string): Promise<void> {
  await files.writeNote("acme", epoch, note);
  await write(files.path("acme", epoch), fact);
}

function ltxKey(epoch: number, txid: number): string {
  const hex = txid.toString(16).padStart(16, "0");
  return `tenants/acme/e${epoch}/ltx/0/${hex}-${hex}.ltx`;
}

async function setAside({ files }: LocalFilesUnderTest, path: string): Promise<ParkedFile> {
  const hold = files.hold(path);
  const parked = await files.setAside(path);
  hold.release();
  return parked;
}
