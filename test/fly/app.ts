import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import { WorkerClient } from "../support/worker-client.ts";
import { storeEnvironment, WorkerPlace } from "../support/worker.ts";
import { FlyMachine } from "./machine.ts";
import { FlyProxy, type FlyProxyOptions } from "./proxy.ts";

/** A start of the real worker on a machine that is busy takes longer than Fly's tries do. */
const patience = { retries: 90, retryEveryMs: 400 };

/** The real worker as an app on Fly: Machines, the proxy before them, a bucket and the app's secrets. */
export class FlyApp {
  readonly name = "kelp";
  readonly store: VersityGw;
  readonly place: WorkerPlace;
  readonly machines: FlyMachine[] = [];
  readonly proxy: FlyProxy;

  private constructor(store: VersityGw, place: WorkerPlace, options: Partial<FlyProxyOptions>) {
    this.store = store;
    this.place = place;
    this.proxy = new FlyProxy({ appName: this.name, machines: this.machines, ...patience, ...options });
  }

  /** `environment` is what fly.toml and `fly secrets set` would add. */
  static async open(
    environment: Readonly<Record<string, string>> = {},
    proxy: Partial<FlyProxyOptions> = {},
  ): Promise<FlyApp> {
    const store = await startVersityGw();
    const settings = { ...storeEnvironment(store, "fly"), NODE_ENV: "production", ...environment };
    return new FlyApp(store, await WorkerPlace.open(settings), proxy);
  }

  /** Creates a Machine without starting it, with the signal and the restarts that fly.toml sets. */
  async create(region: string, environment: Readonly<Record<string, string>> = {}): Promise<FlyMachine> {
    const machine = await FlyMachine.create({
      appName: this.name,
      region,
      folder: this.place.folder,
      launch: (own) => this.place.launch({ ...own, ...environment }),
      killSignal: "SIGTERM",
      killTimeoutMs: 60_000,
    });
    this.machines.push(machine);
    return machine;
  }

  /** A tenant's user who comes by that edge. */
  client(url: string, tenantId: string): Promise<WorkerClient> {
    return WorkerClient.for({ url, tenantId, tokenSecret: this.place.tokenSecret });
  }

  async close(): Promise<void> {
    await this.proxy.close();
    for (const machine of this.machines) await machine.destroy();
    await this.place.close();
    await this.store.stop();
  }
}
