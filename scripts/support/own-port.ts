import { findFreePort } from "../dev/free-port.ts";

/** Below those that the kernel gives to whoever asks for any. */
const ports = { first: 20_000, last: 32_000 };

/** A free port for a server that is stopped and started again: nobody is given it meanwhile, as long as few ask here. */
export async function ownPort(): Promise<number> {
  const from = ports.first + Math.floor(Math.random() * (ports.last - ports.first));
  return await findFreePort(from, 100);
}
