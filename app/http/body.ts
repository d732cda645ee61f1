import type { Context } from "hono";
import type { z } from "zod";
import type { Issue } from "../engine/errors.ts";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";

export const maxBodyBytes = 1024 * 1024;

/** Deeper values overflow the stack of whatever walks them, JSON.stringify included. */
export const maxJsonDepth = 500;

/**
 * The body as `schema` takes it, whatever its content type says: `curl -d` calls everything a form. Throws HttpProblem:
 * `too_large`, `bad_request` if it is no JSON, `invalid_input` with the issues if it is other JSON.
 */
export async function readBody<Schema extends z.ZodType>(
  c: Context<HttpEnv>,
  schema: Schema,
): Promise<z.output<Schema>> {
  return check(parseJson(await readText(c)), schema);
}

/** As `readBody`; no body at all stands for `{}`. */
export async function readOptionalBody<Schema extends z.ZodType>(
  c: Context<HttpEnv>,
  schema: Schema,
): Promise<z.output<Schema>> {
  const text = await readText(c);
  return check(text.trim() === "" ? {} : parseJson(text), schema);
}

/**
 * The body as it came, null if there is none; it is kept, and whoever reads the request afterwards finds it. Throws HttpProblem
 * `too_large`.
 */
export async function wholeBody(c: Context<HttpEnv>): Promise<Uint8Array<ArrayBuffer> | null> {
  if (c.var.body !== undefined) return c.var.body;
  if (c.req.method === "GET" || c.req.method === "HEAD") return null;
  const body = await readBytes(c.req.raw);
  c.set("body", body);
  if (body !== null) c.req.raw = new Request(c.req.raw, { method: c.req.method, body });
  return body;
}

function check<Schema extends z.ZodType>(value: unknown, schema: Schema): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.flatMap(readIssue);
  throw new HttpProblem(
    "invalid_input",
    `The body is invalid: ${issues.map((issue) => `${issue.path || "(root)"}: ${issue.message}`).join("; ")}.`,
    { issues },
  );
}

async function readText(c: Context<HttpEnv>): Promise<string> {
  const body = await readBytes(c.req.raw);
  // Where it has to be sent on, it must not be gone.
  c.set("body", body);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body ?? new Uint8Array());
  } catch {
    throw new HttpProblem("bad_request", "The body is not UTF-8.");
  }
}

async function readBytes(request: Request): Promise<Uint8Array<ArrayBuffer> | null> {
  const length = request.headers.get("content-length");
  if (Number(length ?? 0) > maxBodyBytes) throw tooLarge();
  return length === null ? readUnknownLength(request) : readKnownLength(request);
}

/** Node ends a body at the length that its header tells, so it can be read without a web stream, which costs more than all else. */
async function readKnownLength(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(await request.arrayBuffer().catch(refuseBroken));
  if (bytes.length > maxBodyBytes) throw tooLarge();
  return bytes;
}

/** Counts what arrives, since a chunked body does not tell its length. */
async function readUnknownLength(request: Request): Promise<Uint8Array<ArrayBuffer> | null> {
  if (request.body === null) return null;
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(refuseBroken);
    if (done) break;
    size += value.length;
    if (size > maxBodyBytes) throw tooLarge();
    chunks.push(value);
  }
  return Buffer.concat(chunks, size);
}

function tooLarge(): HttpProblem {
  return new HttpProblem("too_large", `A body may have ${maxBodyBytes} bytes at most.`);
}

function refuseBroken(): never {
  throw new HttpProblem("bad_request", "The body broke off.");
}

function parseJson(text: string): unknown {
  if (text.trim() === "") throw new HttpProblem("bad_request", "The body must be JSON; it is empty.");
  if (text.length > 2 * maxJsonDepth && isDeeperThan(text, maxJsonDepth))
    throw new HttpProblem("bad_request", `The body nests more than ${maxJsonDepth} levels deep.`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpProblem("bad_request", `The body is not JSON: ${firstLine((error as Error).message)}.`);
  }
}

/** Brackets inside of strings do not count. Of text that is no JSON the answer means nothing. */
function isDeeperThan(text: string, limit: number): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === '"') inString = !inString;
    else if (inString && character === "\\") index += 1;
    else if (!inString && (character === "[" || character === "{")) depth += 1;
    else if (!inString && (character === "]" || character === "}")) depth -= 1;
    if (depth > limit) return true;
  }
  return false;
}

function firstLine(message: string): string {
  return message.split("\n", 1)[0]?.slice(0, 200) ?? "";
}

function readIssue(issue: z.core.$ZodIssue): readonly Issue[] {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") return [{ path: path.join("."), message: issue.message }];
  return issue.keys
    .slice(0, 20)
    .map((key) => ({ path: [...path, key.slice(0, 100)].join("."), message: "Unknown key" }));
}
