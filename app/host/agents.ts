import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { isAgent, type Agent } from "../engine/agent.ts";

/** The agents' folder cannot be used; the message names the file. */
export class AgentsError extends Error {
  override readonly name = "AgentsError";
}

/**
 * Imports every TypeScript and JavaScript module below the folder and registers what agents they export. Modules that
 * export none are what agents are made of. Throws AgentsError on a failing import and on an id that two agents have.
 */
export async function loadAgents(folder: string): Promise<ReadonlyMap<string, Agent>> {
  const agents = new Map<string, { readonly agent: Agent; readonly file: string }>();
  for (const file of await findModules(folder)) {
    for (const exported of Object.values(await importModule(folder, file))) {
      if (!isAgent(exported)) continue;
      const known = agents.get(exported.id);
      if (known !== undefined && known.agent !== exported)
        throw new AgentsError(`Two agents have the id "${exported.id}": in ${known.file} and in ${file}.`);
      agents.set(exported.id, { agent: exported, file });
    }
  }
  return new Map([...agents].map(([id, { agent }]) => [id, agent]));
}

async function findModules(folder: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter(
        (entry) =>
          entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name) && !/\.(test|d)\.[cm]?[jt]s$/.test(entry.name),
      )
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .filter((file) => !file.split(/[\\/]/).includes("node_modules"))
      .toSorted();
  } catch (error) {
    throw new AgentsError(
      `The agents' folder ${folder} (HOLDFAST_AGENTS) cannot be read: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

async function importModule(folder: string, file: string): Promise<object> {
  try {
    return (await import(pathToFileURL(join(folder, file)).href)) as object;
  } catch (error) {
    throw new AgentsError(
      `The agents' module ${file} in ${folder} cannot be imported: ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}
