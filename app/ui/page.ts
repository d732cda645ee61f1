import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Hono } from "hono";

/** `GET /`: one static document, the same for everyone; what it shows it reads with the token that it is given. */
export function pageRoutes(): Hono {
  const { html, contentSecurityPolicy } = buildPage();
  return new Hono().get("/", (c) =>
    c.html(html, 200, {
      "content-security-policy": contentSecurityPolicy,
      "referrer-policy": "no-referrer",
    }),
  );
}

/** Each after those that it imports from. */
const scripts = ["elements.js", "session.js", "repeat.js", "run-list.js", "run-view.js", "page.js"];

/** Style and scripts stand in the document itself, so that its policy allows exactly these two by their hashes. */
function buildPage(): { readonly html: string; readonly contentSecurityPolicy: string } {
  const style = read("page.css");
  const script = scripts.map((name) => withoutModuleWords(read(name))).join("\n");
  const html = read("page.html")
    .replace('<link rel="stylesheet" href="page.css" />', () => `<style>${style}</style>`)
    .replace('<script type="module" src="page.js">', () => `<script type="module">${script}`);
  const contentSecurityPolicy = [
    "default-src 'none'",
    `script-src ${hashSource(script)}`,
    `style-src ${hashSource(style)}`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join("; ");
  return { html, contentSecurityPolicy };
}

function read(name: string): string {
  return readFileSync(path.join(import.meta.dirname, name), "utf8");
}

/** One after the other the modules share a scope, so what they import from each other is already there. */
function withoutModuleWords(module: string): string {
  return module.replaceAll(/^import [^;]+;\n/gm, "").replaceAll(/^export /gm, "");
}

function hashSource(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
