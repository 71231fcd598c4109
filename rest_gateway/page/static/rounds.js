// Fifteen requests through each upstream, the upstreams in turn, and what came of them.

import * as api from "./api.js";
import { rounds } from "./quantiles.js";

export const ROUNDS = 15;
const WARM_UPS = 2; // the first opens connections
const GIVE_UP = 3; // failures in a row, after which an upstream is asked no more

/** What one upstream did: `times` by round, the last answer, failures, and whether it is still asked. */
export const newLane = () => ({ times: new Map(), answer: null, last: null, failures: 0, inRow: 0, error: null, asked: 0 });

/** The best class of a row of scores. */
export function answerOf(outputs) {
  const scores = outputs[0]?.data ?? [];
  const label = scores.reduce((best, score, i) => (score > scores[best] ? i : best), 0);
  return scores.length ? { label: String(label), score: scores[label], scores } : null;
}

/** Ask `names` for `values` in turn; `changed(lanes)` after each answer. Gives the lanes; ends early when `signal` says so. */
export async function measure({ model, names, values, choosable, signal, changed }) {
  const request = api.binaryRequest(model, [
    { name: "x", datatype: "FP32", shape: [1, values.length], array: Float32Array.from(values), data: values },
  ]);
  const lanes = new Map(names.map((name) => [name, newLane()]));
  for (const { name } of rounds(names, WARM_UPS)) await step(lanes.get(name), name, null);
  for (const { name, round } of rounds(names, ROUNDS)) await step(lanes.get(name), name, round);
  return lanes;

  async function step(lane, name, round) {
    if (signal.aborted || lane.inRow >= GIVE_UP) return;
    try {
      const reply = await api.infer(request, choosable ? name : null, signal);
      lane.answer = answerOf(reply.outputs());
      lane.last = reply;
      lane.inRow = 0;
      if (round !== null) lane.times.set(round, api.served(reply));
    } catch (error) {
      if (signal.aborted) return;
      Object.assign(lane, { error, failures: lane.failures + 1, inRow: lane.inRow + 1 });
    }
    changed(lanes);
  }
}

/** Times of the rounds that both upstreams answered, in pairs. */
export function pairs(a, b) {
  return [...a].filter(([round]) => b.has(round)).map(([round, time]) => [time, b.get(round)]);
}
