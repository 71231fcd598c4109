// One card an upstream: its answer, latency, message bytes, and where the time went; or why there is none.

import * as api from "./api.js";
import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { ms, percent, whole } from "./numbers.js";
import { about, colour } from "./upstreams.js";

export const STATIONS = ["decode", "encode", "upstream", "queue", "compute", "reply"];

export class Answers {
  #box;
  #results = new Map();

  constructor(box) {
    this.#box = box;
  }

  /** What was answered and kept: `{prediction, elapsed, etag}`. */
  get kept() {
    return [...this.#results.values()].filter((result) => result.prediction);
  }

  /** Show the last answer of each lane of a measurement; nothing of it is kept. */
  show(lanes) {
    this.#results = new Map([...lanes].map(([name, lane]) => [name, ofLane(lane)]));
    this.render();
  }

  /** Ask every upstream in turn, so that none waits for another's work, and keep the predictions. */
  async ask(model, upstreams, inputs, choosable) {
    this.#results = new Map(upstreams.map((name) => [name, { state: "waiting" }]));
    for (const name of upstreams) {
      this.#set(name, { state: "running" });
      this.#set(name, await this.#predict(model, name, inputs, choosable));
    }
  }

  /** The prediction of one upstream, made now when there is none yet; throws why there is none. */
  async one(model, name, inputs, choosable) {
    const known = this.#results.get(name);
    if (known?.prediction) return known.prediction;
    const result = await this.#predict(model, name, inputs, choosable);
    if (result.error) throw result.error;
    this.#set(name, result);
    return result.prediction;
  }

  async #predict(model, name, inputs, choosable) {
    try {
      const { prediction, elapsed, etag } = await api.predict(model, choosable ? name : null, inputs);
      const { label, score } = prediction.answer ?? { label: "?", score: NaN };
      return {
        prediction, elapsed, etag, label, score, scores: prediction.outputs?.[0]?.data ?? [],
        timings: prediction.timings ?? {}, sizes: prediction.message_bytes,
      };
    } catch (error) {
      return { error };
    }
  }

  #set(name, result) {
    this.#results.set(name, result);
    this.render();
  }

  render() {
    const totals = [...this.#results.values()].map(({ timings }) => total(timings));
    const longest = Math.max(...totals, 1e-9);
    this.#box.replaceChildren(...[...this.#results].map(([name, result]) => card(name, result, longest)));
  }
}

const total = (timings = {}) => STATIONS.reduce((sum, name) => sum + (timings[name] ?? 0), 0);

function ofLane({ answer, last, error }) {
  if (!answer) return error ? { error } : { state: "waiting" };
  return { ...answer, elapsed: last.elapsed, timings: last.stations };
}

function card(name, result, longest) {
  const head = el("header", {}, el("h3", {}, name), el("p", {}, about(name)));
  const node = styled(el("article", { class: "card", "data-upstream": name }, head), { "--colour": colour(name) });
  if (result.error) {
    node.append(el("p", { class: "state" }, t("noAnswer"), " ", el("b", {}, result.error.statuses ?? "")),
      el("p", { class: "hint" }, api.reasonOf(result.error)));
  } else if (result.state) node.append(el("p", { class: "state" }, t(result.state)));
  else node.append(...answered(result, longest));
  return node;
}

function answered({ label, score, scores, elapsed, timings, sizes }, longest) {
  const carried = sizes === undefined ? [] : [el("dt", {}, t("messageBytes")), el("dd", { class: "bytes" }, carriedWords(sizes))];
  return [
    el("p", { class: "answer" }, el("output", {}, label), el("span", {}, percent(score))),
    probabilities(scores, Number(label)),
    el("dl", {}, el("dt", {}, t("seen")), el("dd", { class: "latency" }, ms(elapsed)), ...carried),
    stationBar(timings, longest),
  ];
}

function carriedWords(sizes) {
  if (!sizes?.request) return t("noMessage");
  return t("messageBytesValue", { request: whole(sizes.request), response: whole(sizes.response) });
}

function probabilities(scores, best) {
  const list = scores.map((score, digit) => `${digit}: ${percent(score)}`).join(", ");
  return el("div", { class: "probabilities", role: "img", "aria-label": t("probabilities", { list }) },
    ...scores.map((score, digit) => styled(
      el("span", { class: digit === best ? "best" : "", title: `${digit}: ${percent(score, 3)}` }, el("i"), el("b", {}, String(digit))),
      { "--share": score },
    )));
}

function stationBar(timings, longest) {
  const passed = STATIONS.filter((name) => timings[name] > 0);
  const list = passed.map((name) => `${t(`station_${name}`)} ${ms(timings[name])}`).join(", ");
  const bar = el("div", { class: "bar", role: "img", "aria-label": t("stations", { list }) },
    ...passed.map((name) => styled(el("i", { class: `station-${name}`, title: `${t(`station_${name}`)} ${ms(timings[name])}` }),
      { "flex-basis": `${(100 * timings[name]) / longest}%` })));
  const legend = el("ul", { class: "legend" }, ...passed.map((name) =>
    el("li", {}, el("i", { class: `station-${name}` }), t(`station_${name}`), el("b", {}, ms(timings[name])))));
  return el("div", { class: "stations" }, bar, legend);
}
