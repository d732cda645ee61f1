/** How often a long piece of work says that it is alive: often enough on a terminal, seldom enough in a log. */
const terminalTickMs = 1_000;
const logTickMs = 15_000;

/** Lines for whoever waits: one for each thing, and the elapsed seconds while something takes long. */
export class Progress {
  #name;
  #startedAt = Date.now();
  /** @type {Set<string>} */
  #underWay = new Set();
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticker;
  #overwrites = process.stdout.isTTY;

  /** @param {string} name Stands before every line. */
  constructor(name) {
    this.#name = name;
  }

  /** @param {string} line */
  say(line) {
    this.#clear();
    console.log(`${this.#name}: ${line}`);
  }

  /** @param {string} line */
  fail(line) {
    this.#clear();
    console.error(`${this.#name}: ${line}`);
  }

  /**
   * @template T
   * @param {string} what
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async during(what, work) {
    this.say(what);
    this.#underWay.add(what);
    this.#ticker ??= setInterval(() => this.#tick(), this.#overwrites ? terminalTickMs : logTickMs);
    try {
      return await work();
    } finally {
      this.#underWay.delete(what);
      if (this.#underWay.size === 0) {
        clearInterval(this.#ticker);
        this.#ticker = undefined;
      }
    }
  }

  #tick() {
    const seconds = Math.round((Date.now() - this.#startedAt) / 1_000);
    const line = `${this.#name}: ${[...this.#underWay].join(", ")} … ${seconds} s`;
    if (this.#overwrites)
      process.stdout.write(`\r\x1b[K${line.slice(0, (process.stdout.columns ?? 80) - 1)}`);
    else console.log(line);
  }

  #clear() {
    if (this.#overwrites) process.stdout.write("\r\x1b[K");
  }
}
