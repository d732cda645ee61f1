import { AwsV4Signer } from "aws4fetch";
import { array, asyncProperty, assert, constantFrom, option, record, string, uint8Array } from "fast-check";
import { expect, test } from "vitest";
import { encodeKey } from "../../app/storage/s3-location.ts";
import { S3Signer } from "../../app/storage/s3-signature.ts";

/** The examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. */
const example = {
  host: "examplebucket.s3.amazonaws.com",
  at: Date.UTC(2013, 4, 24),
  signer: new S3Signer({
    region: "us-east-1",
    credentials: {
      accessKeyId: "AKIAIOSFODNN7EXAMPLE",
      secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    },
  }),
};

test.each([
  {
    what: "GET Object",
    request: { method: "GET", path: "/test.txt", query: "", headers: { range: "bytes=0-9" } },
    names: "host;range;x-amz-content-sha256;x-amz-date",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  {
    what: "PUT Object",
    request: {
      method: "PUT",
      path: "/test%24file.text",
      query: "",
      headers: { date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" },
      body: Buffer.from("Welcome to Amazon S3."),
    },
    names: "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  },
  {
    what: "GET Bucket Lifecycle",
    request: { method: "GET", path: "/", query: "lifecycle=", headers: {} },
    names: "host;x-amz-content-sha256;x-amz-date",
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  },
  {
    what: "GET Bucket (List Objects)",
    request: { method: "GET", path: "/", query: "max-keys=2&prefix=J", headers: {} },
    names: "host;x-amz-content-sha256;x-amz-date",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
])("AWS's own example of $what is signed as AWS signs it", ({ request, names, signature }) => {
  const { authorization } = example.signer.sign({ ...request, host: example.host }, example.at);
  expect(authorization).toBe(
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
      `SignedHeaders=${names}, Signature=${signature}`,
  );
});

const requests = record({
  method: constantFrom("GET", "PUT", "DELETE"),
  key: array(string({ minLength: 1, unit: "grapheme" }), { minLength: 1, maxLength: 4 }),
  body: option(uint8Array(), { nil: undefined }),
  token: option(constantFrom("a-session-token=="), { nil: undefined }),
  etag: option(constantFrom('"0123"'), { nil: undefined }),
  day: constantFrom(0, 1, 400),
});

test("any request is signed as another implementation signs it, on any day", async () => {
  const [accessKeyId, secretAccessKey, region] = ["id", "secret", "auto"];
  const signers = new Map<string | undefined, S3Signer>();
  await assert(
    asyncProperty(requests, async ({ method, key, body, token, etag, day }) => {
      const sessionToken = token === undefined ? {} : { sessionToken: token };
      const credentials = { accessKeyId, secretAccessKey, ...sessionToken };
      const signer = signers.get(token) ?? new S3Signer({ region, credentials });
      signers.set(token, signer);
      const now = Date.UTC(2026, 10, 25, 23, 59, 59, 999) + day * 86_400_000;
      const headers: Record<string, string> = etag === undefined ? {} : { "if-match": etag };
      // Whatever resolves URLs would take dots out.
      const path = `/bucket/${encodeKey(key.map((part) => `k${part.replaceAll(".", "-")}`).join("/"))}`;
      const unsigned = { method, host: "127.0.0.1:9000", path, query: "", headers };
      const ours = signer.sign(body === undefined ? unsigned : { ...unsigned, body }, now);
      const theirs = await new AwsV4Signer({
        method,
        url: `http://127.0.0.1:9000${path}`,
        headers: { ...headers, "x-amz-content-sha256": ours["x-amz-content-sha256"] ?? "" },
        ...credentials,
        service: "s3",
        region,
        datetime: ours["x-amz-date"] ?? "",
      }).sign();
      expect(ours["authorization"]).toBe(theirs.headers.get("authorization"));
    }),
    { numRuns: 200 },
  );
});
