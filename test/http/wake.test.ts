import { beforeEach, expect, test } from "vitest";
import { WakesUnknownError } from "../../app/host/wake-watch.ts";
import { DrainingError } from "../../app/storage/errors.ts";
import { bearer, createClient, type Client } from "./client.ts";

let client: Client;
beforeEach(async () => {
  client = await createClient();
});

const wake = async (claims: { tenant?: string; scope: string }): Promise<Response> =>
  client.send("/v1/wake", { method: "POST", headers: await bearer(claims) });

test("an operator is told how many wakes were due and served, without naming a tenant", async () => {
  client.host.wakeDue = async () => ({ due: 3, served: 2 });
  const answer = await wake({ scope: "operator" });
  expect([answer.status, await answer.json()]).toEqual([200, { due: 3, served: 2 }]);
});

test.each(["runs:read runs:write", "tenant:admin", "approvals:write"])(
  "a token of the scope %s wakes nobody",
  async (scope) => {
    let asked = 0;
    client.host.wakeDue = async () => ({ due: (asked += 1), served: 0 });
    for (const claims of [{ scope }, { scope, tenant: "acme" }]) {
      const answer = await wake(claims);
      expect([answer.status, await answer.json()]).toMatchObject([403, { code: "forbidden" }]);
    }
    expect(asked).toBe(0);
  },
);

test.each([
  [new WakesUnknownError(new Error("no route")), "store_unavailable"],
  [new DrainingError(), "draining"],
])("a look that cannot be made is answered by 503 and when to repeat it", async (error, code) => {
  client.host.wakeDue = async () => {
    throw error;
  };
  const answer = await wake({ scope: "operator" });
  expect([answer.status, await answer.json()]).toMatchObject([503, { code }]);
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
});
