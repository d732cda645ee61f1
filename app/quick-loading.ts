import { enableCompileCache, registerHooks, type ResolveFnOutput } from "node:module";
import { join } from "node:path";

/** Where compiled modules are kept if NODE_COMPILE_CACHE names no folder. One that cannot be written to is only read. */
const cacheFolder = join(import.meta.dirname, "../node_modules/.cache/holdfast");

/** Inside of these packages every `.js` file is an ES module, and a relative import names its file in full. */
const largePackages = /\/node_modules\/(?:drizzle-orm\/|zod\/|hono\/dist\/(?!cjs\/))/;

const projectRoot = new URL("../", import.meta.url).href;
/** Our own files, without the agents and what else is the user's: an import that goes wrong there is better told by Node. */
const ownFiles = /^(?:app\/(?:config|engine|host|http|storage|ui)\/|db\/(?!schema\.ts$))/;

/**
 * Makes what is imported from here on load faster: Node keeps what it has compiled, TypeScript without its types among it,
 * and is spared most of its questions. It would look beside each file what kind of module it is, and parse a package's map
 * of exports anew for each file in the package and for each import of it: for drizzle-orm, with 112 files and 179 KB of map,
 * that was half of a worker's start.
 */
export function loadQuickly(): void {
  enableCompileCache(cacheFolder);
  const known = new Map<string, ResolveFnOutput>();
  registerHooks({
    resolve(specifier, context, next) {
      const inside = resolveInside(specifier, context.parentURL);
      if (inside !== null) return inside;
      if (!isPackage(specifier) || !isOwn(context.parentURL)) return next(specifier);
      const resolved = known.get(specifier) ?? next(specifier);
      known.set(specifier, resolved);
      return { ...resolved, shortCircuit: true };
    },
  });
}

interface Resolved {
  readonly url: string;
  readonly format: "module" | "module-typescript";
  readonly shortCircuit: true;
}

/** Null for all but an import of one file by another of our own or of the same large package. */
export function resolveInside(specifier: string, importer: string | undefined): Resolved | null {
  if (importer === undefined || !specifier.startsWith(".")) return null;
  if (isOwn(importer))
    return importer.endsWith(".ts") && specifier.endsWith(".ts")
      ? { url: new URL(specifier, importer).href, format: "module-typescript", shortCircuit: true }
      : null;
  if (!largePackages.test(importer) || !importer.endsWith(".js") || !specifier.endsWith(".js")) return null;
  const { href } = new URL(specifier, importer);
  return largePackages.test(href) ? { url: href, format: "module", shortCircuit: true } : null;
}

function isOwn(importer: string | undefined): boolean {
  return importer?.startsWith(projectRoot) === true && ownFiles.test(importer.slice(projectRoot.length));
}

/** As opposed to a file, and to a part of Node. */
function isPackage(specifier: string): boolean {
  return /^[@a-z][^:]*$/.test(specifier);
}
