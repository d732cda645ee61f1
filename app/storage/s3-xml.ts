import { XMLParser } from "fast-xml-parser";
import { z } from "zod";

export interface ListingPage {
  readonly keys: readonly string[];
  /** Where the next page begins; `undefined` on the last one. */
  readonly next: string | undefined;
}

const parser = new XMLParser({
  // Keys may look like numbers and may begin with a space.
  parseTagValue: false,
  trimValues: false,
  // Quotes may come as numbers (&#34;).
  htmlEntities: true,
  isArray: (_name, path) => path === "ListBucketResult.Contents",
});

const listing = z.object({
  ListBucketResult: z.object({
    IsTruncated: z.enum(["true", "false"]),
    NextContinuationToken: z.string().min(1).optional(),
    EncodingType: z.string().optional(),
    Contents: z.array(z.object({ Key: z.string() })).default([]),
  }),
});

const failure = z.object({ Error: z.object({ Code: z.string() }) });

/** Reads an answer to ListObjectsV2. Throws if it is none, or ends in the middle without saying where it goes on. */
export function readListingPage(xml: Buffer): ListingPage {
  const { ListBucketResult: page } = listing.parse(parser.parse(xml.toString("utf8")));
  if (page.IsTruncated === "true" && page.NextContinuationToken === undefined)
    throw new Error("a listing that is not complete names no next page");
  const decode = page.EncodingType === "url" ? decodeKey : (key: string) => key;
  return {
    keys: page.Contents.map(({ Key }) => decode(Key)),
    next: page.IsTruncated === "true" ? page.NextContinuationToken : undefined,
  };
}

/** S3's own code for what went wrong, e.g. `NoSuchKey`; `undefined` if the answer does not come from S3. */
export function readErrorCode(xml: Buffer): string | undefined {
  try {
    return failure.parse(parser.parse(xml.toString("utf8"))).Error.Code;
  } catch {
    return undefined;
  }
}

/** Form encoding: S3 writes a space as "+". */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll("+", " "));
}
