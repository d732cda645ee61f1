import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Script } from "node:vm";
import { expect, test } from "vitest";
import { createClient } from "../http/client.ts";

const folder = path.join(import.meta.dirname, "../../app/ui");
const client = await createClient();
const answer = await client.send("/", { headers: { authorization: "" } });
const html = await answer.text();
const style = /<style>(?<text>[^]*?)<\/style>/.exec(html)?.groups?.text ?? "";
const script = /<script type="module">(?<text>[^]*?)<\/script>/.exec(html)?.groups?.text ?? "";

test("the page is there without a token, and is the same for everyone", async () => {
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toMatch(/^text\/html/);
  expect(await (await client.send("/")).text()).toBe(html);
});

test("its policy allows the page's own style and script, and nothing else", () => {
  const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  expect(answer.headers.get("content-security-policy")?.split("; ")).toEqual([
    "default-src 'none'",
    `script-src ${hash(script)}`,
    `style-src ${hash(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ]);
});

test("it loads nothing from elsewhere", () => {
  expect(html).not.toMatch(/https?:|\ssrc=|@import|url\(/);
});

test("it holds every script of its folder, and they fit together", () => {
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".js"))) {
    const lastFunction =
      readFileSync(path.join(folder, name), "utf8")
        .match(/function \w+/g)
        ?.at(-1) ?? name;
    expect(script).toContain(lastFunction);
  }
  expect(script).not.toMatch(/^(import|export) /m);
  // Two modules that give the same name to two things would be an error here.
  expect(() => new Script(script)).not.toThrow();
});

test("nothing that a run says is ever parsed as markup", () => {
  expect(script).not.toMatch(
    /innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc/,
  );
});

test("every element that the script looks for is in the page", () => {
  for (const [, id] of script.matchAll(/(?:find|show|say)\("([\w-]+)"/g))
    expect(html).toContain(`id="${id}"`);
});
