/** Runs that wait for a place in memory: first in, first out for each agent, and the agents take turns. */
export class ReadyQueue {
  readonly #queues = new Map<string, Set<string>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** A run that is in the queue already keeps its place. */
  add(runId: string, agent: string): void {
    const queue = this.#queues.get(agent) ?? new Set();
    this.#queues.set(agent, queue);
    if (queue.has(runId)) return;
    queue.add(runId);
    this.#size += 1;
  }

  take(): string | undefined {
    const [first] = this.#queues;
    if (first === undefined) return undefined;
    const [agent, queue] = first;
    const [runId] = queue;
    this.#queues.delete(agent);
    if (runId === undefined) return this.take();
    queue.delete(runId);
    this.#size -= 1;
    // To the end of the line: the next turn is another agent's.
    if (queue.size > 0) this.#queues.set(agent, queue);
    return runId;
  }
}
