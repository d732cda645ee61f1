import { execFileSync, spawnSync } from "node:child_process";
import { chownSync, constants, copyFileSync, cpSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { locateLitestream } from "../../app/storage/litestream-binary.ts";
import {
  type Instruction,
  isSent,
  parseDockerfile,
  readCommand,
  readCopy,
  readEnvironment,
  type Stage,
} from "./dockerfile.ts";

const projectRoot = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
const installTimeoutMs = 5 * 60_000;
const workerTimeoutMs = 60_000;

/** What stands in for the image: a folder that has what the image has, where the image has it. */
export interface ImageFolder {
  readonly root: string;
  readonly workFolder: string;
  readonly command: readonly string[];
  /** The image's ENV, its paths moved to below `root`. */
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * Does in folders what a builder does by our Dockerfile: copies what it copies and runs its npm commands. `folder` must be
 * empty; `user` gets what the Dockerfile gives to the user of its image. Throws at a command that it does not know.
 */
export function buildImageFolder(
  folder: string,
  user: { readonly uid: number; readonly gid: number },
): ImageFolder {
  const dockerfile = readFileSync(join(projectRoot, "Dockerfile"), "utf8");
  const dockerignore = readFileSync(join(projectRoot, ".dockerignore"), "utf8");
  const stages = parseDockerfile(dockerfile);
  const rootOf = (name: string): string => join(folder, name || "image");
  let workFolder = "";

  for (const stage of stages) {
    const root = rootOf(stage.name);
    workFolder = root;
    installBase(stage, root);
    for (const instruction of stage.instructions) {
      if (instruction.name === "WORKDIR") {
        workFolder = join(root, instruction.text);
        mkdirSync(workFolder, { recursive: true });
      } else if (instruction.name === "COPY") {
        copy(instruction, { rootOf, target: (path) => inside(root, workFolder, path), dockerignore });
      } else if (instruction.name === "RUN") {
        run(instruction.text, { root, workFolder, user, environment: environmentOf(stage, root) });
      }
    }
  }

  const last = stages.at(-1) ?? { base: "", name: "", instructions: [] };
  const root = rootOf(last.name);
  return { root, workFolder, command: readCommand(last), environment: environmentOf(last, root) };
}

/** What the stage sets, its paths moved to below `root`. */
function environmentOf(stage: Stage, root: string): Readonly<Record<string, string>> {
  const settings = Object.entries(readEnvironment(stage));
  const moved = settings.map(([name, value]) => [name, value.startsWith("/") ? join(root, value) : value]);
  return Object.fromEntries(moved);
}

/** What a stage starts with: the Node that the repository pins, or the wheel's Litestream, which set-up has checked by its hash. */
function installBase(stage: Stage, root: string): void {
  const programs = join(root, "usr/local/bin");
  mkdirSync(programs, { recursive: true });
  const binary = stage.base.startsWith("node:")
    ? { name: "node", path: process.execPath }
    : { name: "litestream", path: locateLitestream(process.env["HOLDFAST_LITESTREAM"], projectRoot) };
  const path = isAbsolute(binary.path)
    ? binary.path
    : execFileSync("sh", ["-c", `command -v ${binary.name}`], { encoding: "utf8" }).trim();
  copyFileSync(path, join(programs, binary.name), constants.COPYFILE_FICLONE);
}

interface CopyContext {
  rootOf(stage: string): string;
  /** Where a path of the instruction lies. */
  target(path: string): string;
  readonly dockerignore: string;
}

function copy(instruction: Instruction, context: CopyContext): void {
  const { from, sources, target } = readCopy(instruction);
  for (const source of sources) {
    const base = from === undefined ? projectRoot : context.rootOf(from);
    const path = join(base, source);
    const sent = (name: string): boolean =>
      from !== undefined || isSent(relative(base, name), context.dockerignore);
    const into = target.endsWith("/") ? join(target, source.split("/").at(-1) ?? "") : target;
    mkdirSync(dirname(context.target(into)), { recursive: true });
    cpSync(path, context.target(into), {
      recursive: statSync(path).isDirectory(),
      filter: sent,
      verbatimSymlinks: true,
    });
  }
}

interface RunContext {
  readonly root: string;
  readonly workFolder: string;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly environment: Readonly<Record<string, string>>;
}

function run(command: string, context: RunContext): void {
  const { root, workFolder, user } = context;
  const givenFolder = /^install --directory --owner=node --group=node (\/\S+)$/.exec(command)?.[1];
  if (givenFolder !== undefined) {
    mkdirSync(join(root, givenFolder), { recursive: true });
    chownSync(join(root, givenFolder), user.uid, user.gid);
  } else if (command.startsWith("npm ")) {
    runNpm(command, root, workFolder);
  } else if (command.includes(" node app/main.ts ")) {
    runWorker(command, context);
  } else if (!/^(apt-get update|pip download) /.test(command)) {
    throw new Error(`The Dockerfile runs a command that this test knows nothing of: ${command}`);
  }
}

function runNpm(command: string, root: string, workFolder: string): void {
  const { status, stderr } = spawnSync("sh", ["-c", command], {
    cwd: workFolder,
    encoding: "utf8",
    timeout: installTimeoutMs,
    env: {
      // What npm hands to its scripts would make this npm work in the repository instead.
      ...Object.fromEntries(
        Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_ENV$|INIT_CWD$)/i.test(name)),
      ),
      PATH: `${join(root, "usr/local/bin")}:${process.env["PATH"]}`,
    },
  });
  if (status !== 0) throw new Error(`${command} failed: ${stderr}`);
}

function runWorker(command: string, { root, workFolder, user, environment }: RunContext): void {
  const temporary = join(root, "tmp");
  mkdirSync(temporary);
  chownSync(temporary, user.uid, user.gid);
  const { status, stdout, stderr } = spawnSync("sh", ["-c", command.replaceAll("/tmp/", `${temporary}/`)], {
    cwd: workFolder,
    encoding: "utf8",
    timeout: workerTimeoutMs,
    env: { ...environment, PATH: `${join(root, "usr/local/bin")}:/usr/bin:/bin`, HOME: temporary },
    ...(process.getuid?.() === 0 ? user : {}),
  });
  if (status !== 0) throw new Error(`The worker did not start and end: ${stdout}${stderr}`);
}

function inside(root: string, workFolder: string, path: string): string {
  return path.startsWith("/") ? join(root, path) : resolve(workFolder, path);
}
