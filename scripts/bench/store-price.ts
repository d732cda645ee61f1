import type { RequestCounts } from "./store-proxy.ts";

/** S3 Standard, us-east-1, dollars a request; a DELETE is free. What is stored is not counted. */
const putOrListDollars = 0.005 / 1_000;
const getDollars = 0.0004 / 1_000;

/** What these requests cost. */
export function dollarsOf({ put, list, get }: RequestCounts): number {
  return (put + list) * putOrListDollars + get * getDollars;
}

export function countsBetween(before: RequestCounts, after: RequestCounts): RequestCounts {
  return {
    put: after.put - before.put,
    get: after.get - before.get,
    list: after.list - before.list,
    delete: after.delete - before.delete,
  };
}
