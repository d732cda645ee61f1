let folder: string | undefined;

/** Called once by the composition root, before any agent runs. `folder` is an absolute path. */
export function configureDigest(settings: { readonly folder: string }): void {
  folder = settings.folder;
}

/** The folder whose documents may be read: the worker's setting, since an agent does not read the environment. */
export function digestFolder(): string {
  if (folder === undefined) {
    throw new Error("The agent digest has no folder: the worker calls configureDigest() when it starts.");
  }
  return folder;
}
