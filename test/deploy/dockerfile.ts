export interface Instruction {
  /** In capitals. */
  readonly name: string;
  /** Everything behind the name, continued lines joined by a space. */
  readonly text: string;
}

export interface Stage {
  readonly base: string;
  /** "" for a stage without a name. */
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

/** Reads what our Dockerfile uses of the format; an instruction that cannot be read throws. */
export function parseDockerfile(text: string): readonly Stage[] {
  const lines = text
    .replaceAll(/^\s*#.*\n/gm, "")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const stages: { base: string; name: string; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const [, name, rest] = /^([A-Z]+)\s+(.*)$/.exec(line.trim()) ?? [];
    if (name === undefined || rest === undefined)
      throw new Error(`The Dockerfile's line cannot be read: ${line}`);
    if (name === "FROM") {
      const [base = "", , stageName = ""] = rest.split(/\s+/);
      stages.push({ base, name: stageName, instructions: [] });
    } else {
      stages.at(-1)?.instructions.push({ name, text: rest });
    }
  }
  return stages;
}

export interface Copy {
  /** The stage that it copies from; undefined: the folder that is built. */
  readonly from: string | undefined;
  readonly sources: readonly string[];
  readonly target: string;
}

export function readCopy({ text }: Instruction): Copy {
  const words = text.split(/\s+/);
  const from = words.find((word) => word.startsWith("--from="))?.slice("--from=".length);
  const paths = words.filter((word) => !word.startsWith("--"));
  return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? "" };
}

/** The one instruction of that name in the stage. */
export function only(stage: Stage, name: string): Instruction {
  const found = stage.instructions.filter((instruction) => instruction.name === name);
  const [first] = found;
  if (first === undefined || found.length > 1)
    throw new Error(`${found.length} ${name} in the Dockerfile, not 1`);
  return first;
}

/** The variables that the stage sets. */
export function readEnvironment(stage: Stage): Readonly<Record<string, string>> {
  const settings = stage.instructions
    .filter(({ name }) => name === "ENV")
    .flatMap(({ text }) => text.split(/\s+/));
  return Object.fromEntries(settings.map((setting) => setting.split("=", 2)));
}

/** The program and arguments of CMD, which must be in exec form: a shell in between would swallow signals. */
export function readCommand(stage: Stage): readonly string[] {
  const command: unknown = JSON.parse(only(stage, "CMD").text);
  if (!Array.isArray(command) || !command.every((word) => typeof word === "string"))
    throw new Error("CMD is not in exec form");
  return command;
}

/** Whether .dockerignore lets a path (a file, or a folder as a whole) into what is built. The last line that matches decides. */
export function isSent(path: string, dockerignore: string): boolean {
  let sent = true;
  for (const line of dockerignore.split("\n").map((each) => each.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    const pattern = line.replace(/^!/, "");
    if (pattern === "*" || path === pattern || path.startsWith(`${pattern}/`)) sent = line.startsWith("!");
  }
  return sent;
}
