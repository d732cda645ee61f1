import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { projectFolder } from "../../scripts/dev/project-folder.ts";
import { historyWith, KilledWorker, rowsOf, runWith } from "../support/killed-worker.ts";
import type { WorkerClient } from "../support/worker-client.ts";

/** What the payment service was asked, and what it answers next; the last answer stays. */
const asked: { readonly key: string; readonly body: unknown }[] = [];
let answers: readonly { readonly status: number; readonly afterSeconds?: number }[] = [];

let service: Server;
let worker: KilledWorker;
beforeAll(async () => {
  service = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const key = String(request.headers["idempotency-key"]);
      asked.push({ key, body: JSON.parse(Buffer.concat(chunks).toString()) });
      const [answer = { status: 200 }, ...more] = answers;
      if (more.length > 0) answers = more;
      const { status, afterSeconds } = answer;
      response.writeHead(status, afterSeconds === undefined ? {} : { "retry-after": String(afterSeconds) });
      response.end(JSON.stringify({ paymentId: `payment of ${key}` }));
    });
  });
  await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
  worker = await KilledWorker.open({
    HOLDFAST_AGENTS: join(projectFolder, "app/agents"),
    REFUND_URL: `http://127.0.0.1:${(service.address() as AddressInfo).port}/refunds`,
  });
});
beforeEach(async () => {
  asked.length = 0;
  answers = [];
  await worker.start();
});
afterAll(async () => {
  await worker.close();
  service.close();
});

/** In each test the worker is killed once, and its disk wiped; each has a tenant of its own. */
const boundMs = 60_000;
const order = { orderId: "o-1", amountCents: 1_250 };

interface Refund {
  readonly orderId: string;
  readonly status: string;
}

async function refundOf(client: WorkerClient): Promise<Refund> {
  return (await client.app<Refund>("/refunds/o-1")).body;
}

test(
  "an approved refund is paid under one key although the service failed and the worker died, and its row says so",
  async () => {
    answers = [{ status: 503, afterSeconds: 3 }, { status: 200 }];
    let client = await worker.client("approved");
    const { body: run } = await client.start("refund", order);
    await historyWith(client, run.id, "signal.waiting");
    expect((await client.run(run.id)).body.state).toBe("waits for a decision");
    const open = {
      ...order,
      status: "open",
      runId: run.id,
      decidedBy: null,
      paymentId: null,
      settledAt: null,
    };
    expect(await refundOf(client)).toMatchObject(open);
    const unfit = await client.signal(run.id, "decision", { payload: { approve: "yes" } });
    expect(unfit.status).toBe(422);
    await client.signal(run.id, "decision", { payload: { approve: true, by: "ada" } });
    await historyWith(client, run.id, "step.retrying");
    await worker.dieAndReturn();
    client = await worker.client("approved");
    expect(await refundOf(client)).toMatchObject(open);
    const { output } = await runWith(client, run.id, "completed");
    const paymentId = `payment of ${run.id}:pay:0`;
    expect(output).toEqual({ status: "paid", paymentId });
    expect(asked).toEqual([
      { key: `${run.id}:pay:0`, body: order },
      { key: `${run.id}:pay:0`, body: order },
    ]);
    expect(await refundOf(client)).toMatchObject({ status: "paid", decidedBy: "ada", paymentId });
  },
  boundMs,
);

test(
  "a refund that is refused pays nothing",
  async () => {
    let client = await worker.client("refused");
    const { body: run } = await client.start("refund", order);
    await historyWith(client, run.id, "signal.waiting");
    await worker.dieAndReturn();
    client = await worker.client("refused");
    await client.signal(run.id, "decision", { payload: { approve: false, by: "ada" } });
    expect((await runWith(client, run.id, "completed")).output).toEqual({
      status: "refused",
      paymentId: null,
    });
    expect([asked, (await refundOf(client)).status]).toEqual([[], "refused"]);
  },
  boundMs,
);

test(
  "a refund that nobody decides expires",
  async () => {
    let client = await worker.client("expired");
    const { body: run } = await client.start("refund", { ...order, decideWithinSeconds: 2.5 });
    await historyWith(client, run.id, "signal.waiting");
    await worker.dieAndReturn();
    client = await worker.client("expired");
    expect((await runWith(client, run.id, "completed")).output).toEqual({
      status: "expired",
      paymentId: null,
    });
    expect([asked, (await refundOf(client)).status]).toEqual([[], "expired"]);
  },
  boundMs,
);

test(
  "a payment that the service refuses for good fails the run, and its row is marked; an order is refunded once only",
  async () => {
    answers = [{ status: 402 }];
    let client = await worker.client("failed");
    const { body: run } = await client.start("refund", order);
    await client.signal(run.id, "decision", { payload: { approve: true, by: "ada" } });
    const { error } = await runWith(client, run.id, "failed");
    expect(error).toMatchObject({ step: "pay", message: expect.stringContaining("answered 402") });
    await worker.dieAndReturn();
    client = await worker.client("failed");
    await expect.poll(async () => (await refundOf(client)).status, { timeout: 20_000 }).toBe("failed");
    const again = await client.start("refund", order, { wait: "20s" });
    expect(again.body.error?.message).toContain('Order "o-1" has a refund already');
    expect(await refundOf(client)).toMatchObject({ status: "failed", runId: run.id });

    answers = [{ status: 200 }];
    await client.control(run.id, "retry");
    await runWith(client, run.id, "completed");
    expect((await refundOf(client)).status).toBe("paid");
    expect(
      rowsOf((await client.history(run.id)).body.items, "step.completed").map(({ name }) => name),
    ).toEqual(["open", "pay", "settle"]);
  },
  boundMs,
);

test(
  "what a route of the user's wrote and answered is there after a kill",
  async () => {
    let client = await worker.client("routes");
    const refuse = async (orderId: string): Promise<void> => {
      const { body: run } = await client.start("refund", { ...order, orderId });
      await client.signal(run.id, "decision", { payload: { approve: false, by: "ada" } });
      await runWith(client, run.id, "completed");
    };
    await refuse("o-1");
    await refuse("o-2");
    expect((await client.app("/refunds/o-1", { method: "DELETE" })).status).toBe(204);
    await worker.dieAndReturn();
    client = await worker.client("routes");
    expect((await client.app("/refunds/o-1")).status).toBe(404);
    expect((await client.app("/refunds/o-1", { method: "DELETE" })).status).toBe(409);
    expect(
      (await client.app<{ items: Refund[] }>("/refunds")).body.items.map(({ orderId }) => orderId),
    ).toEqual(["o-2"]);
    const { epoch, replication } = (await client.tenant()).body;
    expect([epoch, replication.state]).toEqual([2, "ok"]);
  },
  boundMs,
);

test(
  "without a payment service the step fails with a line that names the setting",
  async () => {
    await worker.dieAndReturn({ REFUND_URL: "" });
    const client = await worker.client("unset");
    const { body: run } = await client.start("refund", order);
    await client.signal(run.id, "decision", { payload: { approve: true, by: "ada" } });
    const { error } = await runWith(client, run.id, "failed");
    expect(error?.cause).toMatchObject({
      name: "NonRetryableError",
      message: expect.stringContaining("REFUND_URL"),
    });
  },
  boundMs,
);
