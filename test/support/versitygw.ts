export { startVersityGw } from "../../scripts/support/versitygw.ts";
export type { VersityGw } from "../../scripts/support/versitygw.ts";
