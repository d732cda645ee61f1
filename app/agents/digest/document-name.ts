import { z } from "zod";

/** What counts as a document: text for readers. Also keeps a request away from databases and keys in the folder. */
const extensions = [".md", ".markdown", ".mdx", ".txt"];

/** No path that a request needs is longer, and error messages repeat the name. */
const maxNameLength = 300;

/** A name as an input has it. */
export const documentName: z.ZodType<string> = z.string().check((context) => {
  const problem = documentNameProblem(context.value);
  if (problem !== undefined)
    context.issues.push({ code: "custom", message: `The name ${problem}`, input: context.value });
});

/**
 * Why `name` cannot name a document of the folder, or `undefined` if it can. A name is a relative path with "/" between
 * its parts. It is the name alone that is judged: whether a symlink leads out of the folder is seen when it is opened.
 */
export function documentNameProblem(name: string): string | undefined {
  if (name === "") return "is empty";
  if (name.length > maxNameLength) return `is longer than ${maxNameLength} characters`;
  if (/\p{Cc}/u.test(name)) return "has a control character";
  if (name.includes("\\")) return 'has a backslash; parts are separated by "/"';
  if (name.startsWith("/") || /^[a-z]:/i.test(name)) {
    return "is an absolute path; name a document in the worker's folder";
  }
  const parts = name.split("/");
  if (parts.includes("..")) return 'leaves the folder by ".."';
  if (parts.some((part) => part === "" || part === ".")) return 'has an empty part or "."';
  if (parts.some((part) => part.startsWith("."))) return "is hidden";
  if (!isReadable(name)) return `is no document: those end in ${extensions.join(", ")}`;
  return undefined;
}

function isReadable(name: string): boolean {
  const lower = name.toLowerCase();
  return extensions.some((extension) => lower.endsWith(extension));
}
