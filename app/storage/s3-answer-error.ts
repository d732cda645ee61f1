/** S3 answered, but neither with what was asked for nor with a refused condition. */
export class S3AnswerError extends Error {
  override readonly name = "S3AnswerError";
  readonly status: number;
  /** S3's own code, e.g. `SlowDown`; `undefined` if the answer held none. */
  readonly code: string | undefined;
  constructor(status: number, code: string | undefined) {
    const hint = hints.get(code ?? "");
    super(`status ${status}${code === undefined ? "" : `, ${code}`}${hint === undefined ? "" : `: ${hint}`}`);
    this.status = status;
    this.code = code;
  }
}

const anotherRegion = "the bucket is in another region, set it by region=";

/** What to do about the answers that a person can mend. */
const hints: ReadonlyMap<string, string> = new Map([
  ["NoSuchBucket", "create the bucket, or correct its name"],
  ["AccessDenied", "the access key needs to get, put, delete and list objects of the bucket"],
  ["InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"],
  ["SignatureDoesNotMatch", "check AWS_SECRET_ACCESS_KEY"],
  ["InvalidToken", "check AWS_SESSION_TOKEN"],
  ["ExpiredToken", "renew the credentials, AWS_SESSION_TOKEN has expired"],
  ["PermanentRedirect", anotherRegion],
  ["AuthorizationHeaderMalformed", anotherRegion],
  ["RequestTimeTooSkewed", "this machine's clock is wrong"],
]);
