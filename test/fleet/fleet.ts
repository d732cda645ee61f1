import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { signToken } from "../../app/http/token.ts";
import { ownPort } from "../../scripts/support/own-port.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { WorkerPlace, type WorkerLife } from "../support/worker.ts";

/** Short, so that a takeover does not take the suite's time; the worker's default is five times as long. */
export const ttlMs = 3_000;

/** One Machine of a fleet: a disk of its own, its own way to the store, and one worker after the other. */
export class FleetHost {
  readonly name: string;
  readonly region: string;
  readonly place: WorkerPlace;
  /** Between this host and the store. */
  readonly store: FaultProxy;
  life: WorkerLife | null = null;

  constructor(name: string, region: string, place: WorkerPlace, store: FaultProxy) {
    this.name = name;
    this.region = region;
    this.place = place;
    this.store = store;
  }

  async start(): Promise<WorkerLife> {
    this.life = await this.place.start();
    return this.life;
  }

  /** SIGTERM; gives the exit code. */
  async stop(): Promise<number | null> {
    const { life } = this;
    this.life = null;
    return life === null ? null : await life.stop();
  }

  /** SIGKILL to everything at once, and the disk is gone. */
  async lose(): Promise<void> {
    await this.life?.killHard();
    this.life = null;
    await this.place.wipe();
  }

  /** As a suspended Machine: neither the worker nor its Litestream makes a step, until the returned function is called. */
  freeze(): () => void {
    if (this.life === null) throw new Error(`Host "${this.name}" does not run.`);
    const pids = [this.life.pid, ...this.life.litestreams()];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    return () => {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    };
  }
}

/** Workers on Machines of their own, in regions, on one S3 server. */
export class Fleet {
  readonly hosts: readonly FleetHost[];
  readonly tokenSecret: string;
  readonly #server: VersityGw;

  private constructor(hosts: readonly FleetHost[], tokenSecret: string, server: VersityGw) {
    this.hosts = hosts;
    this.tokenSecret = tokenSecret;
    this.#server = server;
  }

  /** Starts a host for each region that is named. */
  static async open(regions: readonly string[]): Promise<Fleet> {
    const server = await startVersityGw();
    const tokenSecret = randomBytes(32).toString("base64");
    const shared = {
      HOLDFAST_TOKEN_SECRET: tokenSecret,
      HOLDFAST_MASTER_KEY: randomBytes(32).toString("base64"),
      HOLDFAST_HOST_TTL: `${ttlMs}ms`,
      AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey,
    };
    const hosts: FleetHost[] = [];
    for (const [index, region] of regions.entries()) {
      const store = await FaultProxy.start(server);
      const place = await WorkerPlace.open({
        ...shared,
        HOLDFAST_REGION: region,
        HOLDFAST_STORE: store.storeUrl("fleet"),
        // The address by which others reach it is told before it listens.
        PORT: String(await ownPort()),
      });
      hosts.push(new FleetHost(`${region}-${index}`, region, place, store));
    }
    await Promise.all(hosts.map((host) => host.start()));
    return new Fleet(hosts, tokenSecret, server);
  }

  /** Where clients are sent now: hosts that were started and not stopped. */
  get up(): readonly { readonly name: string; readonly url: string }[] {
    return this.hosts.flatMap(({ name, life }) => (life === null ? [] : [{ name, url: life.url }]));
  }

  token(tenant: string): Promise<string> {
    const scope = "runs:read runs:write";
    return signToken({ tenant, sub: "fleet", scope, expiresIn: "1h" }, this.tokenSecret);
  }

  /** One after the other, as a deploy does: the new worker starts when the old one has let everything go. */
  async roll(): Promise<void> {
    for (const host of this.hosts) {
      await host.stop();
      await host.start();
      await sleep(200);
    }
  }

  async close(): Promise<void> {
    for (const { place, store } of this.hosts) {
      await place.close();
      await store.close();
    }
    await this.#server.stop();
  }
}
