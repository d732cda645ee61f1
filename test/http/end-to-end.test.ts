import { expect, test } from "vitest";
import { endToEnd } from "../../app/http/end-to-end.ts";

test("what speaks of one connection is not handed on, nor what `connection` names", () => {
  const kept = endToEnd([
    ["authorization", "Bearer x"],
    ["connection", "keep-alive, X-Mine"],
    ["keep-alive", "timeout=5"],
    ["x-mine", "1"],
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
    ["te", "trailers"],
    ["transfer-encoding", "chunked"],
    ["upgrade", "h2c"],
  ]);
  expect(kept).toEqual([
    ["authorization", "Bearer x"],
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
  ]);
});
