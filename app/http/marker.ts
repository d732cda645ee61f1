import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from "node:crypto";

/**
 * Why a request is sent to a host: it has the tenant, it is in the tenant's home region, or the host that had it is
 * stopping and knows no better.
 */
export type Errand = "holder" | "region" | "draining";

/** What a host says of a request that it sends on. */
export interface Marker {
  readonly tenantId: string;
  /** The host that sends it. */
  readonly from: string;
  readonly errand: Errand;
  /** The host that it is meant for; null where Fly's proxy chooses one. */
  readonly to: string | null;
}

/**
 * Signs markers with the secrets of tokens, so that a client cannot make one up. With each of them, and one is enough: while
 * they are rotated two hosts may share only one, and whoever could accept a request's token then knows the marker too, so
 * that no request goes round between hosts that take each other for clients. Neither time nor path is signed: clocks of hosts
 * differ, and a proxy between them may rewrite the path. No client sees a marker that names a host, and one that names none is
 * believed only from Fly's proxy.
 */
export class Markers {
  readonly #keys: readonly KeyObject[];

  constructor(secrets: readonly string[]) {
    this.#keys = secrets.map((secret) => createSecretKey(secret, "utf8"));
  }

  /** Of letters, digits and `.-_` only, as ids are, so that it fits into a header and into the state of Fly's replays. */
  sign(marker: Marker): string {
    const { from, errand, to } = marker;
    const signatures = this.#keys.map((key) => signatureOf(key, marker).toString("base64url"));
    return [from, errand, to ?? "", ...signatures].join(".");
  }

  /** Undefined for what no host has signed, or has signed for another tenant. */
  read(text: string, tenantId: string): Marker | undefined {
    const [from, errand, to, ...signatures] = text.split(".", 3 + maxSignatures);
    if (from === undefined || to === undefined || !isErrand(errand)) return undefined;
    const marker = { tenantId, from, errand, to: to === "" ? null : to };
    const given = signatures.map((signature) => Buffer.from(signature, "base64url"));
    const isOurs = this.#keys.some((key) => {
      const expected = signatureOf(key, marker);
      return given.some((bytes) => bytes.length === expected.length && timingSafeEqual(bytes, expected));
    });
    return isOurs ? marker : undefined;
  }
}

/** As many as there may be secrets at a time. */
const maxSignatures = 2;

function isErrand(text: string | undefined): text is Errand {
  return text === "holder" || text === "region" || text === "draining";
}

/** What a token's signature is made of has no line breaks, so that neither can stand for the other. */
function signatureOf(key: KeyObject, { tenantId, from, errand, to }: Marker): Buffer {
  const signed = ["holdfast-forwarded", tenantId, from, errand, to ?? ""].join("\n");
  return createHmac("sha256", key).update(signed).digest();
}
