// One card an upstream: its answer, latency, message bytes, stations and the exchange.

import * as api from "./api.js";
import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { ms, percent, whole } from "./numbers.js";
import { about, colour } from "./ways.js";

export const STATIONS = ["decode", "encode", "upstream", "queue", "compute", "reply"];

export class Answers {
  #box;
  #results = new Map();

  constructor(box) {
    this.#box = box;
  }

  /** What was answered, by upstream: `{prediction, elapsed, etag}`. */
  get kept() {
    return [...this.#results.values()].filter((result) => result.prediction);
  }

  /** Ask every upstream in turn, so that none waits for another's work. */
  async ask(model, upstreams, inputs, choosable) {
    this.#results = new Map(upstreams.map((name) => [name, { state: "waiting" }]));
    this.#box.setAttribute("aria-busy", "true");
    for (const name of upstreams) {
      this.#set(name, { state: "running" });
      try {
        this.#set(name, await api.predict(model, choosable ? name : null, inputs));
      } catch (error) {
        this.#set(name, { error: error.message });
      }
    }
    this.#box.setAttribute("aria-busy", "false");
  }

  /** One sentence: do the answers agree? Empty without an answer. */
  get agreement() {
    const answers = this.kept.map(({ prediction }) => [prediction.upstream, prediction.answer?.label ?? "?"]);
    if (!answers.length) return "";
    const labels = new Set(answers.map(([, label]) => label));
    const list = answers.map((pair) => pair.join(" ")).join(", ");
    return labels.size === 1 ? t("agree", { label: answers[0][1] }) : t("differ", { list });
  }

  #set(name, result) {
    this.#results.set(name, result);
    this.render();
  }

  render() {
    const totals = this.kept.map(({ prediction }) => prediction.timings?.total ?? 0);
    const longest = Math.max(...totals, 0);
    this.#box.replaceChildren(...[...this.#results].map(([name, result]) => card(name, result, longest)));
  }
}

function card(name, result, longest) {
  const head = el("header", {}, el("h3", {}, name), el("p", {}, about(name)));
  const node = styled(el("article", { class: "card", "data-upstream": name }, head), { "--way": colour(name) });
  if (result.prediction) node.append(...answered(result, longest));
  else if (result.error) node.append(el("p", { class: "state" }, t("failed")), el("p", { class: "hint" }, result.error));
  else node.append(el("p", { class: "state" }, t(result.state)));
  return node;
}

function answered({ prediction, elapsed }, longest) {
  const scores = prediction.outputs?.[0]?.data ?? [];
  const { label, score } = prediction.answer ?? { label: "?", score: NaN };
  return [
    el("p", { class: "answer" }, el("output", {}, label), el("span", {}, percent(score))),
    probabilities(scores, Number(label)),
    el("dl", {},
      el("dt", {}, t("seen")), el("dd", { class: "latency" }, ms(elapsed)),
      el("dt", {}, t("messageBytes")), el("dd", { class: "bytes" }, carried(prediction.message_bytes))),
    stationBar(prediction.timings ?? {}, longest),
  ];
}

function carried(sizes) {
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
