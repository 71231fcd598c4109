// The race itself: requests through every upstream in turn, many at a time, until done or stopped.

import * as api from "./api.js";
import { medianRatio, rounds } from "./quantiles.js";
import { pairs } from "./rounds.js";
import { PAYLOADS, asJson } from "./tensors.js";

const WARM_UPS = 3;
const GIVE_UP = 5; // failures in a row, after which an upstream is out of the race

export class Race {
  #abort = new AbortController();

  /** `names` of upstreams, tensor `kind` and `size` in bytes, `count` of requests each, `concurrency`, `choosable`. */
  constructor(settings) {
    this.settings = settings;
    this.lanes = new Map(settings.names.map((name) =>
      [name, { elapsed: [], served: [], hop: [], times: new Map(), errors: 0, inRow: 0, error: null, message: null }]));
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

  /** Open connections, and with `weigh` the size of one message of each: every request of the race is the same. */
  async prepare() {
    const { kind, size, names, weigh } = this.settings;
    const { model, tensors } = PAYLOADS[kind](size);
    this.request = api.binaryRequest(model, tensors);
    for (const name of names) {
      if (this.stopped) return;
      const lane = this.lanes.get(name);
      try {
        if (weigh) lane.message = await messageBytes(model, this.#upstream(name), asJson(tensors));
        for (let i = 0; i < WARM_UPS && !this.stopped; i++) await this.#infer(name);
      } catch (error) {
        if (!this.stopped) lane.error = error;
      }
    }
  }

  async run() {
    const turns = rounds(this.settings.names, this.settings.count);
    await Promise.all(Array.from({ length: this.settings.concurrency }, () => this.#work(turns)));
  }

  /** Each other upstream's time as a multiple of the reference's, from the rounds in which both answered. */
  ratios(reference) {
    const base = this.lanes.get(reference);
    if (!base) return new Map();
    return new Map([...this.lanes].filter(([name]) => name !== reference).flatMap(([name, lane]) => {
      const found = medianRatio(pairs(lane.times, base.times));
      return found ? [[name, found]] : [];
    }));
  }

  async #work(turns) {
    for (const { name, round } of turns) {
      if (this.stopped) return;
      const lane = this.lanes.get(name);
      if (lane.inRow >= GIVE_UP) {
        lane.errors += 1;
        continue;
      }
      try {
        const reply = await this.#infer(name);
        lane.inRow = 0;
        lane.elapsed.push(reply.elapsed);
        lane.times.set(round, api.served(reply));
        if (!("upstream" in reply.stations)) continue;
        lane.hop.push(reply.stations.upstream);
        lane.served.push(api.served(reply));
      } catch (error) {
        if (!this.stopped) Object.assign(lane, { error, errors: lane.errors + 1, inRow: lane.inRow + 1 });
      }
    }
  }

  #infer(name) {
    return api.infer(this.request, this.#upstream(name), this.#abort.signal);
  }

  #upstream(name) {
    return this.settings.choosable ? name : null;
  }
}

/** Encoded sizes of request and response on the hop, from a prediction that is kept only for that. */
async function messageBytes(model, upstream, inputs) {
  const { prediction } = await api.predict(model, upstream, inputs);
  await api.remove(prediction.id);
  return prediction.message_bytes;
}
