// The first thing to see: one row an upstream with its answer, fifteen dots and their median.

import { reasonOf } from "./api.js";
import { el, styled, svg } from "./dom.js";
import { t } from "./language.js";
import { factor, ms, whole } from "./numbers.js";
import { differs, medianRatio, quantile, sorted } from "./quantiles.js";
import { pairs, ROUNDS } from "./rounds.js";
import { ticks } from "./strips.js";
import { about, colour, withLibrary } from "./upstreams.js";

const [LEAST, MOST] = [0.02, 20000];
const DOTS = 26; // height of a row of dots, in pixels
const COMPARED = [["grpc", "rest-binary"], ["grpc", "rest"], ["grpc-lean", "rest-binary"]];

const answered = (lane) => lane.answer !== null && lane.times.size > 0;
const failed = (lane) => lane.failures > 0 && !answered(lane);

export class Board {
  #list;
  #axis;
  #lanes = new Map();

  constructor(list, axis) {
    [this.#list, this.#axis] = [list, axis];
    addEventListener("resize", () => this.render());
  }

  get names() {
    return [...this.#lanes.keys()];
  }

  /** Rows for `names` that wait for their answers: they take the room that the answers will take. */
  expect(names) {
    this.show(new Map(names.map((name) => [name, null])));
  }

  show(lanes) {
    this.#lanes = lanes;
    this.render();
  }

  render() {
    const times = [...this.#lanes.values()].flatMap((lane) => (lane ? [...lane.times.values()] : []));
    const range = times.length ? span(sorted(times)) : null;
    const rows = [...this.#lanes].map(([name, lane]) => row(name, lane));
    this.#list.replaceChildren(...rows);
    rows.forEach((node, i) => plot(node.querySelector("svg"), [...this.#lanes.values()][i], range));
    axis(this.#axis, rows[0]?.querySelector("svg"), range);
  }

  /** Who answered what, how many of how many; the failures with their reasons. */
  get summary() {
    const lanes = [...this.#lanes].filter(([, lane]) => lane);
    if (!lanes.length) return "";
    const labels = new Map(lanes.filter(([, lane]) => answered(lane)).map(([name, lane]) => [name, lane.answer.label]));
    const lost = lanes.filter(([, lane]) => failed(lane));
    const answers = agreement(labels, lanes.length);
    return lost.length ? `${answers} ${reasons(lost)}` : answers;
  }

  /** What fifteen rounds say of gRPC against REST: a factor with its interval, or that no difference was seen. */
  get finding() {
    const found = COMPARED.find((names) => names.every((name) => this.#lanes.get(name)?.times.size));
    if (!found) return "";
    const [one, other] = found.map((name) => this.#lanes.get(name).times);
    return comparison(found, medianRatio(pairs(one, other)));
  }
}

/** "grpc (grpcio) takes 1.9 times as long as ...", or that no difference was seen; empty without enough pairs. */
export function comparison([one, other], found) {
  if (!found) return "";
  if (found.ratio < 1) return comparison([other, one], inverse(found));
  const words = { one: withLibrary(one), other: withLibrary(other), low: factor(found.low), high: factor(found.high) };
  return differs(found) ? t("slower", { ...words, ratio: factor(found.ratio) }) : t("noDifference", words);
}

const inverse = ({ ratio, low, high }) => ({ ratio: 1 / ratio, low: 1 / high, high: 1 / low });

function agreement(labels, asked) {
  const [first] = labels.values();
  if (new Set(labels.values()).size > 1) {
    return t("differ", { list: [...labels].map((pair) => pair.join(" ")).join(", ") });
  }
  if (!labels.size) return t("noneAnswered", { asked: whole(asked) });
  if (labels.size < asked) return t("someAnswered", { count: whole(labels.size), asked: whole(asked), label: first });
  return asked === 1 ? t("oneAnswered", { upstream: [...labels.keys()][0], label: first }) : t("agree", { count: whole(asked), label: first });
}

/** Upstreams that failed for the same reason stand in one sentence. */
function reasons(lost) {
  const groups = new Map();
  for (const [name, { error }] of lost) {
    const why = [error.statuses, reasonOf(error)].filter(Boolean).join(", ");
    groups.set(why, [...(groups.get(why) ?? []), name]);
  }
  return [...groups].map(([reason, names]) => t("theseFailed", { names: names.join(", "), reason })).join(" ");
}

function row(name, lane) {
  const node = el("li", { "data-upstream": name, class: lane && failed(lane) ? "failed" : "" },
    el("span", { class: "name" }, el("span", { class: "upstream" }, name), el("small", {}, about(name))),
    el("output", {}, lane?.answer?.label ?? (lane && failed(lane) ? "–" : "…")),
    svg("svg", { class: "dots", role: "img", height: DOTS }),
    el("span", { class: "median" }, ...figure(lane)));
  return styled(node, { "--colour": colour(name) });
}

function figure(lane) {
  if (!lane) return [];
  if (failed(lane)) return [lane.error.statuses || t("noAnswer")];
  const lost = lane.failures ? [el("small", {}, t("someFailed", { count: whole(lane.failures) }))] : [];
  return lane.times.size ? [ms(quantile(sorted(lane.times.values()), 0.5)), ...lost] : [];
}

function span(times) {
  const clip = (value) => Math.min(MOST, Math.max(LEAST, value));
  const [low, high] = [clip(times[0] / 1.3), clip(times.at(-1) * 1.3)];
  return high / low < 4 ? [low / Math.sqrt(4 * low / high), high * Math.sqrt(4 * low / high)] : [low, high];
}

const scale = ([low, high], width) => (value) => (Math.log(value / low) / Math.log(high / low)) * width;

function plot(node, lane, range) {
  const width = node.clientWidth || 300;
  node.setAttribute("viewBox", `0 0 ${width} ${DOTS}`);
  node.append(svg("line", { x1: 0, x2: width, y1: DOTS / 2, y2: DOTS / 2, class: "base" }));
  const times = lane ? [...lane.times.values()] : [];
  node.setAttribute("aria-label", times.length
    ? t("dots", { count: whole(times.length), median: ms(quantile(sorted(times), 0.5)), of: whole(ROUNDS) }) : t("dotsNone"));
  if (!times.length) return;
  const x = scale(range, width);
  node.append(...times.map((time) => svg("circle", { cx: x(time).toFixed(1), cy: DOTS / 2, r: 4 })));
  const median = x(quantile(sorted(times), 0.5));
  node.append(svg("line", { x1: median, x2: median, y1: 2, y2: DOTS - 2, class: "middle" }));
}

function axis(node, beside, range) {
  const width = beside?.clientWidth || 300;
  node.setAttribute("viewBox", `0 0 ${width} 16`);
  if (!range) return node.replaceChildren();
  const x = scale(range, width);
  node.replaceChildren(...ticks(range, width)
    .filter(({ value }) => x(value) > 20 && x(value) < width - 20)
    .map(({ value, text }) => svg("text", { x: x(value), y: 12, "text-anchor": "middle" }, text)));
}
