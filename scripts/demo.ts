/** `npm run demo`: an agent run outlives its machine, in front of your eyes and with real processes. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { z } from "zod";

import { DemoError } from "./demo/demo-error.ts";
import { makeDemoFolder } from "./demo/demo-folder.ts";
import { drill } from "./demo/drill.ts";
import { brokenPromises } from "./demo/ledger.ts";
import { lookFurther } from "./demo/look-further.ts";
import { progressBar } from "./demo/progress-bar.ts";
import { recordedSteps } from "./demo/progress.ts";
import { excerpt, resultTable } from "./demo/report.ts";
import type { WorkerLife } from "./demo/worker-life.ts";
import { findFreePort } from "./dev/free-port.ts";
import { projectFolder } from "./dev/project-folder.ts";
import { loadSecrets } from "./dev/secrets.ts";
import { makeWayIn } from "./dev/way-in.ts";

const help = `npm run demo [-- --store s3://bucket/prefix?endpoint=URL&region=R&forcePathStyle=true]

Starts the worker and, through HTTP, a run of the agent digest over the README files under node_modules.
Half-way worker and Litestream are killed with SIGKILL and all local files are deleted. The worker is started
again and nobody calls: the run goes on from its replica and ends. Then everything that was acknowledged before
the kill is compared with what is there now. Exits with 1 if anything is not as promised.

  --store  a bucket instead of a folder under .holdfast/demo/; credentials are the AWS_… variables
  --help   this text`;

const tenant = "demo";
const excerptLines = 40;

const lives: WorkerLife[] = [];
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => void abandon());

const { values: flags } = parseArgs({ options: { store: { type: "string" }, help: { type: "boolean" } } });
if (flags.help === true) {
  console.log(help);
} else {
  try {
    await demo(flags.store);
  } catch (error) {
    console.error(error instanceof DemoError ? `\ndemo: ${error.message}` : error);
    process.exitCode = 1;
  }
  await endAll();
}

async function demo(store: string | undefined): Promise<void> {
  const folder = await makeDemoFolder(store);
  const secrets = await loadSecrets(join(projectFolder, ".holdfast/secrets.json"));
  const { run, history, ledger, opened } = await drill({
    script: "app/main.ts",
    folder,
    tenant,
    tokenSecret: secrets.tokenSecret,
    stallMs: 30_000,
    environment: workerEnvironment(secrets),
    say: (line) => console.log(line),
    bar: () => progressBar(process.stdout),
    onLife: (life) => lives.push(life),
  });

  console.log(`\n${resultTable(ledger, opened, recordedSteps(history).length)}\n`);
  const broken = brokenPromises(ledger);
  if (broken.length > 0)
    throw new DemoError(`Not as promised: ${broken.join("; ")}. All is kept in ${folder.path}`);

  const { markdown } = z.object({ markdown: z.string() }).parse(run.output);
  const digestFile = join(folder.path, "digest.md");
  await writeFile(digestFile, markdown);
  console.log(`${excerpt(markdown, excerptLines)}\n`);
  const url = `http://127.0.0.1:${await findFreePort(8080, 20)}`;
  const wayIn = await makeWayIn({ url, tenant, tokenSecret: secrets.tokenSecret });
  console.log(await lookFurther({ folder, digestFile, runId: run.id, wayIn }));
}

/** The demo is the same on every machine: of the environment's settings only where Litestream is and AWS's are kept. */
function workerEnvironment(secrets: {
  readonly tokenSecret: string;
  readonly masterKey: string;
}): NodeJS.ProcessEnv {
  const ours = /^(?:HOLDFAST_|DIGEST_|REFUND_|FLY_|BUCKET_NAME$|NODE_ENV$)/;
  const kept = Object.entries(process.env).filter(
    ([name]) => name === "HOLDFAST_LITESTREAM" || !ours.test(name),
  );
  return {
    ...Object.fromEntries(kept),
    HOLDFAST_TOKEN_SECRET: secrets.tokenSecret,
    HOLDFAST_MASTER_KEY: secrets.masterKey,
  };
}

async function abandon(): Promise<void> {
  console.error("\ndemo: stopping …");
  await endAll();
  process.exit(130);
}

/** The worker drains and takes Litestream with it; one that hangs is killed. */
async function endAll(): Promise<void> {
  await Promise.all(lives.map((life) => life.process.stop(10_000)));
}
