import { expect, test } from "vitest";
import { readErrorCode, readListingPage } from "../../app/storage/s3-xml.ts";

const prolog = '<?xml version="1.0" encoding="UTF-8"?>\n';

function listing(inside: string): Buffer {
  const namespace = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
  return Buffer.from(`${prolog}<ListBucketResult ${namespace}>${inside}</ListBucketResult>`);
}

function object(key: string): string {
  return `<Contents><Key>${key}</Key><ETag>&#34;d41d&#34;</ETag><Size>0</Size><Owner><ID/></Owner></Contents>`;
}

test("a page gives its keys as they are, and where the next one begins", () => {
  const keys = ["0012", " begins with a space", "a&amp;b", "&lt;c&gt; &quot;d&apos; &#233;&#x1F600;", "ü"];
  const more = "<IsTruncated>true</IsTruncated><NextContinuationToken>a+b==</NextContinuationToken>";
  expect(readListingPage(listing(`<Name>b</Name><Prefix/>\n ${more}${keys.map(object).join("\n")}`))).toEqual(
    {
      keys: ["0012", " begins with a space", "a&b", "<c> \"d' é😀", "ü"],
      next: "a+b==",
    },
  );
});

test("keys in form encoding are decoded", () => {
  const end = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";
  const { keys, next } = readListingPage(listing(end + object("a+b%2Bc%26d%0A")));
  expect(keys).toEqual(["a b+c&d\n"]);
  expect(next).toBe(undefined);
});

test("an empty bucket has no keys", () => {
  const empty = listing("<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated><Contents />");
  expect(() => readListingPage(empty)).toThrow("without a key");
  expect(readListingPage(listing("<IsTruncated>false</IsTruncated>")).keys).toEqual([]);
});

test.each([
  ["nothing", "Root element", ""],
  ["text", "Root element", "OK"],
  ["an HTML page", "Missing end tag", "<!DOCTYPE html><html><body><br>hello</body></html>"],
  ["another answer", "no listing", `${prolog}<ListAllMyBucketsResult/>`],
  ["one that says nothing of a next page", "no listing", listing(object("a")).toString()],
  ["one whose next page has no name", "no next page", listing("<IsTruncated>true</IsTruncated>").toString()],
  [
    "one that ends in the middle",
    "Missing end tag",
    listing("<IsTruncated>false</IsTruncated>").toString().slice(0, -3),
  ],
  ["one that ends within a key", "Missing end tag", listing(object("abc")).toString().split("bc")[0] ?? ""],
  ["elements that cross", "Missing end tag", listing("<IsTruncated><a>false</IsTruncated></a>").toString()],
  [
    "an entity that is not XML's own",
    "Named entity isn't defined",
    listing(`<IsTruncated>false</IsTruncated>${object("&nbsp;")}`).toString(),
  ],
  [
    "an entity without an end",
    "Unterminated reference",
    listing(`<IsTruncated>false</IsTruncated>${object("a&b")}`).toString(),
  ],
  ["depth without end", "Maximum call stack", "<a>".repeat(100_000)],
])("%s is no listing: %s", (_what, why, xml) => {
  expect(() => readListingPage(Buffer.from(xml))).toThrow(why);
});

test("a cut anywhere in a listing is noticed", () => {
  const whole = listing(`<IsTruncated>false</IsTruncated>${object("a&amp;b")}`);
  for (let end = 0; end < whole.length; end += 1)
    expect(() => readListingPage(whole.subarray(0, end)), `cut at ${end}`).toThrow(/line|truncated/);
});

test("an error is known by S3's own code, and by nothing else", () => {
  const error = `${prolog}<Error><Code>NoSuchKey</Code><Message>It &amp; that</Message><Key>k</Key></Error>`;
  expect(readErrorCode(Buffer.from(error))).toBe("NoSuchKey");
  expect(readErrorCode(Buffer.from("<Code>NoSuchKey</Code>"))).toBe(undefined);
  expect(readErrorCode(Buffer.from("<html><Error><Code>NoSuchKey</Code></Error></html>"))).toBe(undefined);
  expect(readErrorCode(Buffer.from(""))).toBe(undefined);
});
