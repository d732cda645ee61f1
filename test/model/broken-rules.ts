import type { Broken } from "./broken.ts";
import { brokenClaims } from "./broken-claims.ts";
import { brokenFiles } from "./broken-files.ts";
import { brokenGates } from "./broken-gates.ts";
import { brokenReleases } from "./broken-releases.ts";
import { brokenWakes } from "./broken-wakes.ts";

/** The rules of the protocol, each with the port that breaks it. */
export const brokenRules: Readonly<Record<string, Broken>> = {
  ...brokenClaims,
  ...brokenGates,
  ...brokenFiles,
  ...brokenReleases,
  ...brokenWakes,
};
