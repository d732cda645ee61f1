import { parseXml, XmlElement } from "@rgrove/parse-xml";

export interface ListingPage {
  readonly keys: readonly string[];
  /** Where the next page begins; `undefined` on the last one. */
  readonly next: string | undefined;
}

/** Reads an answer to ListObjectsV2. Throws if it is none, or ends in the middle without saying where it goes on; how deep one may be is bounded by the stack. */
export function readListingPage(xml: Buffer): ListingPage {
  const page = rootOf(xml);
  const truncated = childText(page, "IsTruncated");
  if (page.name !== "ListBucketResult" || (truncated !== "true" && truncated !== "false"))
    throw new Error("it is no listing");
  const next = truncated === "true" ? childText(page, "NextContinuationToken") : undefined;
  if (truncated === "true" && (next === undefined || next === ""))
    throw new Error("a listing that is not complete names no next page");
  const decode = childText(page, "EncodingType") === "url" ? decodeKey : (key: string) => key;
  const keys = childrenOf(page, "Contents").map((object) => {
    const key = childText(object, "Key");
    if (key === undefined) throw new Error("it lists an object without a key");
    return decode(key);
  });
  return { keys, next };
}

/** S3's own code for what went wrong, e.g. `NoSuchKey`; `undefined` if the answer does not come from S3. */
export function readErrorCode(xml: Buffer): string | undefined {
  try {
    const answer = rootOf(xml);
    return answer.name === "Error" ? childText(answer, "Code") : undefined;
  } catch {
    return undefined;
  }
}

function rootOf(xml: Buffer): XmlElement {
  const { root } = parseXml(xml.toString("utf8"));
  if (root === null) throw new Error("it has no element");
  return root;
}

/** What stands in the first child of that name, if there is one. */
function childText(element: XmlElement, name: string): string | undefined {
  return childrenOf(element, name)[0]?.text;
}

function childrenOf({ children }: XmlElement, name: string): readonly XmlElement[] {
  return children.flatMap((child) => (child instanceof XmlElement && child.name === name ? [child] : []));
}

/** Form encoding: S3 writes a space as "+". */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll("+", " "));
}
