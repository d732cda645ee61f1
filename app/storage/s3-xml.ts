import { childText, readXml } from "./xml.ts";

export interface ListingPage {
  readonly keys: readonly string[];
  /** Where the next page begins; `undefined` on the last one. */
  readonly next: string | undefined;
}

/** Reads an answer to ListObjectsV2. Throws if it is none, or ends in the middle without saying where it goes on. */
export function readListingPage(xml: Buffer): ListingPage {
  const page = readXml(xml.toString("utf8"));
  const truncated = childText(page, "IsTruncated");
  if (page.name !== "ListBucketResult" || (truncated !== "true" && truncated !== "false"))
    throw new Error("it is no listing");
  const next = truncated === "true" ? childText(page, "NextContinuationToken") : undefined;
  if (truncated === "true" && (next === undefined || next === ""))
    throw new Error("a listing that is not complete names no next page");
  const decode = childText(page, "EncodingType") === "url" ? decodeKey : (key: string) => key;
  const contents = page.children.filter(({ name }) => name === "Contents");
  const keys = contents.map((object) => {
    const key = childText(object, "Key");
    if (key === undefined) throw new Error("it lists an object without a key");
    return decode(key);
  });
  return { keys, next };
}

/** S3's own code for what went wrong, e.g. `NoSuchKey`; `undefined` if the answer does not come from S3. */
export function readErrorCode(xml: Buffer): string | undefined {
  try {
    const answer = readXml(xml.toString("utf8"));
    return answer.name === "Error" ? childText(answer, "Code") : undefined;
  } catch {
    return undefined;
  }
}

/** Form encoding: S3 writes a space as "+". */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll("+", " "));
}
