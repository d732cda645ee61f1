import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";

import { digest } from "../../app/agents/digest.ts";
import { configureDigest } from "../../app/agents/digest/settings.ts";
import type { Step } from "../../app/engine/agent.ts";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-digest-"));
  configureDigest({ folder });
  await put(
    "kelp.md",
    "# Kelp\n\nKelp anchors durable files to slippery rocks.\n\n## Growth\n\nKelp grows towards the light by metres weekly.\n",
  );
  await put("whale.md", "# Whale\n\nWhales carry songs over whole oceans of cold water.\n");
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const put = (name: string, contents: string | Buffer): Promise<void> =>
  writeFile(join(folder, name), contents);

/** Runs the agent's function, and its children's, on recorded results, as JSON, and takes the steps that have none. */
async function runAgent(records: Map<string, string>, input: { documents?: string[] } = {}) {
  const taken: string[] = [];
  const states: unknown[] = [];
  const step = {
    async run(name: string, fn: (context: never) => unknown): Promise<unknown> {
      if (!records.has(name)) {
        taken.push(name);
        records.set(name, JSON.stringify((await fn(undefined as never)) ?? null));
      }
      return JSON.parse(records.get(name) ?? "null");
    },
    async map(
      _name: string,
      items: readonly unknown[],
      _options: unknown,
      fn: (item: unknown, branch: { step: unknown; index: number }) => Promise<unknown>,
    ): Promise<unknown[]> {
      const results: unknown[] = [];
      for (const [index, item] of items.entries()) results.push(await fn(item, { step, index }));
      return results;
    },
    async invoke(_name: string, agent: { handler: (context: unknown) => unknown }, given: unknown) {
      return JSON.parse(JSON.stringify(await agent.handler(contextOf(given))));
    },
  };
  const contextOf = (given: unknown) => ({
    input: given,
    step: step as unknown as Step,
    run: { id: "r", agent: "digest", setState: (state: unknown) => void states.push(state) },
    tenant: { id: "t" },
    log: { info() {}, warn() {}, error() {} },
  });
  const output = await digest.handler(contextOf(input) as Parameters<typeof digest.handler>[0]);
  const { markdown, documents, skipped } = z
    .object({ markdown: z.string(), documents: z.number(), skipped: z.array(z.unknown()) })
    .parse(output);
  return { markdown, documents, skipped, taken, states };
}

test("each document is read, outlined and quoted in steps of its own", async () => {
  const { markdown, documents, taken, states } = await runAgent(new Map());
  expect(documents).toBe(2);
  expect(taken).toEqual([
    "list",
    "read kelp.md",
    "outline kelp.md",
    "read whale.md",
    "outline whale.md",
    "key sentences kelp.md",
    "key sentences whale.md",
  ]);
  expect(states).toEqual(["1 of 2 documents read", "2 of 2 documents read", "2 documents quoted"]);
  expect(markdown).toContain("- [Kelp](#kelp)\n- [Whale](#whale)");
  expect(markdown).toContain("- Kelp anchors durable files to slippery rocks.\n");
  expect(markdown).toMatch(/`whale\.md` \(\d+ B, sha256 [0-9a-f]{12}\)/);
  expect(markdown).toContain("**Headings:** Growth");
});

test("cut off after any step, the run ends with the same digest, although the documents changed meanwhile", async () => {
  const whole = new Map<string, string>();
  const { markdown, taken } = await runAgent(whole);
  await put("kelp.md", "# Other\n\nSomething else entirely stands here by now.\n");
  await put("whale.md", "# Other\n\nSomething else entirely stands here by now.\n");
  const afterReads = taken.findLastIndex((name) => name.startsWith("read ")) + 1;
  for (let cut = afterReads; cut <= taken.length; cut += 1) {
    const records = new Map([...whole].slice(0, cut));
    const replayed = await runAgent(records);
    expect(replayed.taken).toEqual(taken.slice(cut));
    expect(replayed.markdown).toBe(markdown);
  }
});

test("only the named documents are read, each once", async () => {
  const { documents, taken } = await runAgent(new Map(), { documents: ["whale.md", "whale.md"] });
  expect(documents).toBe(1);
  expect(taken).not.toContain("read kelp.md");
});

test("what is not text is skipped and said so", async () => {
  await put("image.md", Buffer.from([0, 1, 2]));
  const { markdown, skipped } = await runAgent(new Map());
  expect(skipped).toEqual([{ name: "image.md", why: "it is not text" }]);
  expect(markdown).toContain("- `image.md`: it is not text");
});

test("a large document leaves a bounded record", async () => {
  await put("large.md", "Kelp anchors durable files to slippery rocks on wild coasts.\n\n".repeat(20_000));
  const records = new Map<string, string>();
  const { markdown } = await runAgent(records, { documents: ["large.md"] });
  expect(records.get("read large.md")?.length).toBeLessThan(64 * 1024);
  expect(markdown).toContain("its start only");
});

test.each([["/etc/passwd"], ["../secret.md"], ["a\\b.md"], ["data.db"], [""]])(
  "the schema refuses %j",
  (name) => {
    const result = digest.input["~standard"].validate({ documents: [name] });
    expect(result).toMatchObject({ issues: [{ path: ["documents", 0] }] });
  },
);

test.each([[{ documents: [] }], [{ folder: "/etc" }], [[]], [null], [{ documents: "kelp.md" }]])(
  "the schema refuses %j",
  (input) => {
    expect(digest.input["~standard"].validate(input)).toHaveProperty("issues");
  },
);

test("a name that leaves the folder by a symlink fails the run for good", async () => {
  await symlink("/etc/hostname", join(folder, "out.md"));
  await expect(runAgent(new Map(), { documents: ["out.md"] })).rejects.toMatchObject({
    name: "NonRetryableError",
  });
});
