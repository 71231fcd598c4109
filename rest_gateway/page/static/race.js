// The race itself: requests through every upstream in turn, many at a time, until done or stopped.

import * as api from "./api.js";
import { rounds } from "./quantiles.js";
import { PAYLOADS, asBinary, asJson } from "./tensors.js";

const WARM_UPS = 3;

export class Race {
  #abort = new AbortController();

  /** `names` of upstreams, tensor `kind` and `size` in bytes, `count` of requests each, `concurrency`, `choosable`. */
  constructor(settings) {
    this.settings = settings;
    this.lanes = new Map(settings.names.map((name) => [name, { elapsed: [], served: [], hop: [], errors: 0, message: null }]));
  }

  get stopped() {
    return this.#abort.signal.aborted;
  }

  get share() {
    const done = [...this.lanes.values()].reduce((sum, lane) => sum + lane.elapsed.length + lane.errors, 0);
    return done / (this.settings.names.length * this.settings.count);
  }

  stop() {
    this.#abort.abort();
  }

  /** Open the ways, and weigh one message of each: every request of the race is the same. */
  async prepare() {
    const { kind, size, names } = this.settings;
    const { model, tensors } = PAYLOADS[kind](size);
    this.request = { model, ...asBinary(tensors) };
    for (const name of names) {
      if (this.stopped) return;
      this.lanes.get(name).message = await weigh(model, this.#way(name), asJson(tensors));
      for (let i = 0; i < WARM_UPS && !this.stopped; i++) await this.#infer(name);
    }
  }

  async run() {
    const turns = rounds(this.settings.names, this.settings.count);
    await Promise.all(Array.from({ length: this.settings.concurrency }, () => this.#work(turns)));
  }

  async #work(turns) {
    for (const name of turns) {
      if (this.stopped) return;
      const lane = this.lanes.get(name);
      try {
        const { elapsed, stations } = await this.#infer(name);
        lane.elapsed.push(elapsed);
        if (!("upstream" in stations)) continue;
        lane.hop.push(stations.upstream);
        lane.served.push(Object.values(stations).reduce((sum, spent) => sum + spent, 0));
      } catch {
        if (!this.stopped) lane.errors += 1;
      }
    }
  }

  #infer(name) {
    return api.infer(this.request, this.#way(name), this.#abort.signal);
  }

  #way(name) {
    return this.settings.choosable ? name : null;
  }
}

/** Encoded sizes of request and response on the hop, from a prediction that is kept only for that. */
async function weigh(model, upstream, inputs) {
  const { prediction } = await api.predict(model, upstream, inputs);
  await api.remove(prediction.id);
  return prediction.message_bytes;
}
