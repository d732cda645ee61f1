/** `npm run dev`: a worker on this machine that needs no settings and starts anew when a file is edited. */
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { listDocuments } from "../app/agents/digest/folder.ts";
import { watchEdits } from "./dev/edits.ts";
import { findFreePort } from "./dev/free-port.ts";
import { logLines } from "./dev/log-lines.ts";
import { openPage } from "./dev/open-page.ts";
import { projectFolder } from "./dev/project-folder.ts";
import { loadSecrets } from "./dev/secrets.ts";
import { supervise } from "./dev/supervise.ts";
import { curlStart, makeWayIn, pageLink, type WayIn } from "./dev/way-in.ts";
import { startWorker } from "./dev/worker-process.ts";

const help = `npm run dev [-- --open]

Starts the worker, and starts it anew when a file under app/, db/ or the agents' folder is edited.
Secrets are made under .holdfast/; any PORT, HOLDFAST_…, DIGEST_DIR or REFUND_URL in the environment wins.

  --open   open the page in a browser
  --help   this text`;

const tenant = "demo";
const defaultPort = 8080;

const { values: flags } = parseArgs({ options: { open: { type: "boolean" }, help: { type: "boolean" } } });
if (flags.help === true) {
  console.log(help);
} else {
  try {
    await main({ open: flags.open === true });
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    process.exit(1);
  }
}

async function main({ open }: { readonly open: boolean }): Promise<void> {
  const given = process.env;
  const secrets = await loadSecrets(join(projectFolder, ".holdfast/secrets.json"));
  const wanted = given["PORT"] === undefined ? defaultPort : readPort(given["PORT"]);
  const port = await findFreePort(wanted, 20);
  if (wanted !== 0 && port !== wanted) say(`Port ${wanted} is taken; using ${port}.`);
  const environment = {
    HOLDFAST_TOKEN_SECRET: secrets.tokenSecret,
    HOLDFAST_MASTER_KEY: secrets.masterKey,
    ...given,
    PORT: String(port),
  };
  const url = `http://127.0.0.1:${port}`;
  const wayIn = await makeWayIn({ url, tenant, tokenSecret: environment.HOLDFAST_TOKEN_SECRET });
  const welcomeText = await welcome(wayIn, given);
  const print = logLines({ pretty: process.stdout.isTTY });
  const onLine = (line: string): void => void process.stdout.write(print(line));
  const edits = watchEdits(sourceFolders(given), 150);
  await supervise({
    url,
    start: () => startWorker({ script: "app/main.ts", environment, onLine }),
    edits,
    ...stopOnSignals(),
    say,
    onReady(life, tookMs) {
      if (life > 1) say(`Ready again after ${(tookMs / 1000).toFixed(1)} s: ${url}`);
      else console.log(welcomeText);
      if (life === 1 && open) void openOrSay(pageLink(wayIn));
    },
  });
  edits.close();
  process.exit(0);
}

function readPort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new Error(`PORT must be a number from 0 to 65535; it is "${text}".`);
}

function sourceFolders(given: NodeJS.ProcessEnv): readonly string[] {
  const agents = resolve(projectFolder, given["HOLDFAST_AGENTS"] ?? "app/agents");
  const own = ["app", "db"].map((name) => join(projectFolder, name));
  return own.some((folder) => agents.startsWith(`${folder}/`)) ? own : [...own, agents];
}

async function welcome(wayIn: WayIn, given: NodeJS.ProcessEnv): Promise<string> {
  const documents = await someDocuments(resolve(projectFolder, given["DIGEST_DIR"] ?? "node_modules"));
  return [
    "",
    `  Holdfast runs at  ${wayIn.url}`,
    "",
    `  Page   ${pageLink(wayIn)}`,
    "",
    `  Token  ${wayIn.token}`,
    `         tenant ${tenant}, runs:read runs:write, 30 days`,
    "",
    "  Start a run and wait for its end:",
    "",
    curlStart(wayIn, "digest", documents.length === 0 ? {} : { documents }),
    "",
    "  Edit a file under app/ and the worker starts anew. Ctrl+C stops it.",
    "",
  ].join("\n");
}

/** Three well-known ones if they are there, so that the first answer is short and quick. */
async function someDocuments(folder: string): Promise<readonly string[]> {
  try {
    const bounds = { maxDocuments: 500, maxEntries: 20_000, maxDepth: 8 };
    const names = (await listDocuments(folder, bounds)).documents.map(({ name }) => name);
    const known = ["hono/README.md", "zod/README.md", "drizzle-orm/README.md"].filter((name) =>
      names.includes(name),
    );
    return known.length > 0 ? known : names.slice(0, 3);
  } catch {
    return [];
  }
}

/** The first SIGINT, SIGTERM or SIGHUP lets the worker drain, the second ends it at once. */
function stopOnSignals(): { readonly stop: AbortSignal; readonly force: AbortSignal } {
  const stopping = new AbortController();
  const forcing = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => (stopping.signal.aborted ? forcing : stopping).abort());
  }
  return { stop: stopping.signal, force: forcing.signal };
}

async function openOrSay(link: string): Promise<void> {
  if (!(await openPage(link))) say("No browser could be opened here: open the page's link yourself.");
}

function say(line: string): void {
  console.log(`dev: ${line}`);
}
