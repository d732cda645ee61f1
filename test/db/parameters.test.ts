import { expect, test } from "vitest";
import type { SqlValue } from "../../db/connect.ts";
import { countPlaceholders } from "../../db/parameters.ts";
import { temporaryConnection } from "./temporary-database.ts";

const roundTrip = (value: unknown) =>
  temporaryConnection().read((tx) => tx.get("SELECT ? AS value, typeof(?1) AS type", [value as SqlValue]));

test.each([
  [1, { value: 1, type: "integer" }],
  [1.5, { value: 1.5, type: "real" }],
  [2n ** 40n, { value: 2 ** 40, type: "integer" }],
  [true, { value: 1, type: "integer" }],
  ["grüße 🪸", { value: "grüße 🪸", type: "text" }],
  ["", { value: "", type: "text" }],
  [null, { value: null, type: "null" }],
  [new Date(5), { value: 5, type: "integer" }],
])("a value comes back as it went in: %o", async (value, row) => {
  expect(await roundTrip(value)).toEqual(row);
});

test.each([
  [new Uint8Array([9, 1, 2, 9]).subarray(1, 3)],
  [Buffer.from([1, 2])],
  [new Uint8Array([1, 2]).buffer],
])("bytes come back as they went in: %o", async (value) => {
  const row = (await roundTrip(value)) as { value: Uint8Array };
  expect([...row.value]).toEqual([1, 2]);
});

test.each([
  undefined,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2n ** 63n,
  {},
  [],
  Symbol("x"),
  () => 1,
  new Uint16Array(1),
  new Date(Number.NaN),
])("a value that SQLite cannot hold is an error, not the end of the process: %o", async (value) => {
  await expect(roundTrip(value)).rejects.toMatchObject({ code: "bad_parameter" });
});

test("text with a NUL is an error of its own, since it comes from input and not from code", async () => {
  await expect(roundTrip("a\0b")).rejects.toMatchObject({ code: "nul_text" });
});

test("a missing parameter is an error, not the one of the call before", async () => {
  const connection = temporaryConnection();
  const sql = "SELECT ? AS a, ? AS b";
  await connection.read((tx) => tx.get(sql, [1, 2]));
  for (const parameters of [[], [1], [1, 2, 3]]) {
    await expect(connection.read((tx) => tx.get(sql, parameters))).rejects.toMatchObject({
      code: "bad_parameter",
    });
  }
});

test("an integer that a JavaScript number cannot hold is an error, not another number", async () => {
  const connection = temporaryConnection();
  await expect(connection.read((tx) => tx.get("SELECT 9007199254740993 AS big"))).rejects.toThrow(
    "Column big holds 9007199254740993",
  );
});

test.each([
  ["SELECT 1", 0],
  ["SELECT ?, ?", 2],
  ["SELECT ?3, ?", 4],
  ["SELECT :a, @b, $c, :a", 3],
  [`SELECT '?', "?", \`?\`, [?], 'it''s ?' -- ?\n, /* ? */ ?`, 1],
  ["SELECT a$b, json_extract(x, '$.a'), x ->> '$[0]' FROM t WHERE y = ?", 1],
  ["SELECT /* open ?", 0],
])("placeholders are counted as SQLite does: %s", (sql, count) => {
  expect(countPlaceholders(sql)).toBe(count);
});
