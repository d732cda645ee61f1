import { randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { clearCodec, sealingCodec, UnreadableValueError } from "../../app/storage/codec.ts";
import type { SealedValue } from "../../app/storage/codec.ts";

const key = randomBytes(32);
const codec = sealingCodec("1", key);
const seed = Date.now() % 2 ** 31;

test(`every JSON value comes back as it was, sealed or clear (seed ${seed})`, () => {
  const anyPlace = fc.property(fc.jsonValue(), fc.string(), (value, place) => {
    const recorded: unknown = JSON.parse(JSON.stringify(value));
    for (const each of [codec, clearCodec])
      expect(each.open(each.seal(recorded, place), place)).toEqual(recorded);
  });
  fc.assert(anyPlace, { seed, numRuns: 500 });
});

test("undefined and null come back as what they were", () => {
  for (const each of [codec, clearCodec]) {
    expect(each.open(each.seal(undefined, "here"), "here")).toBeUndefined();
    expect(each.open(each.seal(null, "here"), "here")).toBeNull();
  }
});

test("a sealed value does not open in another place", () => {
  const sealed = codec.seal({ amount: 1 }, "history:run-1:2");
  for (const place of ["history:run-1:3", "history:run-2:2", "signals:run-1:2", ""])
    expect(() => codec.open(sealed, place)).toThrow(UnreadableValueError);
});

test("a sealed value does not open with another key, whatever that key is called", () => {
  const sealed = codec.seal("secret", "here");
  expect(() => sealingCodec("1", randomBytes(32)).open(sealed, "here")).toThrow(/does not open with its key/);
  expect(() => sealingCodec("2", key).open(sealed, "here")).toThrow(/unknown key "1"/);
});

test("a sealed value of which one bit was changed, or a byte cut off or added, does not open", () => {
  const { keyId, data } = codec.seal("secret", "here");
  const bytes = data as Uint8Array;
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const changed = Uint8Array.from(bytes);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(() => codec.open({ keyId, data: changed }, "here"), `bit ${bit}`).toThrow(UnreadableValueError);
  }
  for (let length = 0; length < bytes.length; length += 1)
    expect(() => codec.open({ keyId, data: bytes.slice(0, length) }, "here")).toThrow(UnreadableValueError);
  const longer = Buffer.concat([bytes, Buffer.of(0)]);
  expect(() => codec.open({ keyId, data: longer }, "here")).toThrow(UnreadableValueError);
});

test("a value never looks the same twice", () => {
  const sealed = Array.from({ length: 100 }, () =>
    Buffer.from(codec.seal("yes", "here").data as Uint8Array).toString("hex"),
  );
  expect(new Set(sealed).size).toBe(100);
});

test("what was written clear stays readable after a key was set", () => {
  const clear = clearCodec.seal({ from: "before" }, "here");
  expect(clear.keyId).toBeNull();
  expect(codec.open(clear, "here")).toEqual({ from: "before" });
});

test("a sealed value without a key gives an error that says which key and which setting is missing", () => {
  const sealed = codec.seal("secret", "runs:1:input");
  expect(() => clearCodec.open(sealed, "runs:1:input")).toThrow(UnreadableValueError);
  expect(() => clearCodec.open(sealed, "runs:1:input")).toThrow(/runs:1:input.*key "1".*HOLDFAST_MASTER_KEY/);
});

test.each<[string, SealedValue]>([
  ["text that is no JSON", { keyId: null, data: "{" }],
  ["bytes that claim to be clear", { keyId: null, data: new Uint8Array([1, 2, 3]) }],
  ["text that claims to be sealed", { keyId: "1", data: '"secret"' }],
  ["bytes in an unknown layout", { keyId: "1", data: new Uint8Array(64) }],
  ["no bytes", { keyId: "1", data: new Uint8Array(0) }],
])("%s give a clear error", (_what, value) => {
  expect(() => codec.open(value, "runs:1:input")).toThrow(UnreadableValueError);
  expect(() => codec.open(value, "runs:1:input")).toThrow(/runs:1:input/);
});
