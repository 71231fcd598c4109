// The race as it is seen: settings, the crossover as it is drawn, strips and numbers that grow, and the words above them.

import { reasonOf } from "./api.js";
import { comparison } from "./board.js";
import * as crossover from "./crossover.js";
import { byId, el, setDisabled, styled } from "./dom.js";
import { t } from "./language.js";
import { bytes, ms, whole } from "./numbers.js";
import { quantile, sorted } from "./quantiles.js";
import { Race } from "./race.js";
import { strips } from "./strips.js";
import { choices, colour } from "./upstreams.js";

export const SIZES = [256, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20];
export const CONCURRENCY = [1, 2, 4, 8];
const COUNTS = [50, 200, 500, 2000];
const AT_FIRST = { payload: 1 << 16, concurrency: 1, count: 50 };
const RACERS = ["grpc", "grpc-lean", "rest-binary"];
const REFERENCES = ["rest-binary", "rest", "inprocess"];
const MEASURES = { elapsed: "measureSeen", served: "measureServed", hop: "measureHop" };
const FRAME_MS = 120;
const SWEEP = { count: 20, countOfLarge: 12, large: 1 << 18 };
const SWEEP_ORDER = [1 << 16, 256, 1 << 20, 1 << 12, 1 << 10, 1 << 14, 1 << 18]; // wide first, then between

export class Racing {
  #form = byId("race-form");
  #gateway;
  #chosen;
  #changed;
  #first;
  #race = null;
  #phase = "idle";
  #failure = "";
  #result = null;
  #origin = "here";
  #sweeping = false;

  /** `wanted` is the state in the URL; `changed()` is called when it is to be written again. */
  constructor(gateway, names, wanted, changed) {
    this.#gateway = gateway;
    this.#changed = changed;
    const fill = (name, values, first, text) => this.#form.elements[name].append(
      ...values.map((value) => el("option", { value, selected: value === first }, text(value))));
    fill("concurrency", CONCURRENCY, wanted.concurrency ?? AT_FIRST.concurrency, whole);
    fill("count", COUNTS, AT_FIRST.count, whole);
    const slider = this.#form.elements.payload;
    Object.assign(slider, { min: 0, max: SIZES.length - 1, value: SIZES.indexOf(wanted.payload ?? AT_FIRST.payload) });
    this.#chosen = choices(byId("racers"), names, wanted.racers ?? RACERS, () => this.#changed());
    this.#first = names.filter((name) => RACERS.includes(name));
    if (wanted.result) [this.#result, this.#origin] = [wanted.result, "link"];
    if (!gateway.timing) this.#onlySeen();
    this.#listen(slider);
    this.#enter("idle");
  }

  #listen(slider) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    slider.addEventListener("input", () => this.render());
    slider.addEventListener("change", () => {
      this.#changed();
      this.#restart();
    });
    this.#form.elements.concurrency.addEventListener("change", () => this.#changed());
    byId("stop").addEventListener("click", () => this.stop());
    byId("measure").addEventListener("change", () => this.render());
    addEventListener("resize", () => this.render());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.#sweeping) this.#race?.stop();
    });
  }

  get state() {
    const concurrency = Number(this.#form.elements.concurrency.value);
    const chosen = this.#chosen();
    const racers = chosen.join() === this.#first.join() ? null : chosen;
    const payload = this.#size === AT_FIRST.payload && !this.#result ? null : this.#size;
    return { payload, concurrency: concurrency === AT_FIRST.concurrency ? null : concurrency, racers, result: this.#result };
  }

  get #size() {
    return SIZES[Number(this.#form.elements.payload.value)];
  }

  /** Whether there is a result already, from a link or from before a reload. */
  get hasResult() {
    return this.#result !== null;
  }

  /** Without Server-Timing there is nothing but what this browser saw. */
  #onlySeen() {
    for (const choice of document.querySelectorAll("[name=measure]")) {
      choice.checked = choice.value === "elapsed";
      choice.disabled = !choice.checked;
    }
  }

  stop() {
    this.#sweeping = false;
    this.#race?.stop();
  }

  async #restart() {
    this.stop();
    while (this.#busy) await pause(20);
    await this.start();
  }

  /** One race with the settings of the form. */
  async start() {
    const names = this.#chosen();
    if (!names.length || this.#busy) return;
    this.#fresh(names);
    const of = (name) => Number(this.#form.elements[name].value);
    await this.#through({
      names, kind: this.#form.elements.kind.value, size: this.#size, concurrency: of("concurrency"), count: of("count"), weigh: true,
    });
    this.#enter(this.#phase === "failed" ? "failed" : "done");
  }

  /** A short race at each payload, so that the crossover draws itself; the slider stays where it is. */
  async sweep() {
    const names = this.#chosen();
    if (!names.length || this.#busy) return;
    this.#fresh(names);
    this.#sweeping = true;
    const order = [this.#size, ...SWEEP_ORDER.filter((size) => size !== this.#size)];
    while (order.length && this.#sweeping) {
      await visible();
      const count = order[0] >= SWEEP.large ? SWEEP.countOfLarge : SWEEP.count;
      await this.#through({ names, kind: "numbers", size: order[0], concurrency: 1, count, weigh: false });
      if (this.#phase === "failed") break;
      if (!this.#race.stopped || !document.hidden) order.shift();
    }
    this.#sweeping = false;
    this.#enter(this.#phase === "failed" ? "failed" : "done");
  }

  /** What was measured under other upstreams, or elsewhere, does not stand beside what is measured now. */
  #fresh(names) {
    const reference = REFERENCES.find((name) => names.includes(name)) ?? names[0];
    if (this.#origin !== "here" || this.#result?.reference !== reference) this.#result = { reference, points: new Map() };
    this.#origin = "here";
  }

  async #through(settings) {
    const race = this.#race = new Race({ ...settings, choosable: this.#gateway.choosable });
    const timer = setInterval(() => this.render(), FRAME_MS);
    try {
      this.#enter("preparing");
      await race.prepare();
      this.#enter("running");
      await race.run();
      this.#keep(race);
      if ([...race.lanes.values()].every((lane) => lane.error && !lane.elapsed.length)) throw [...race.lanes.values()][0].error;
    } catch (error) {
      this.#failure = [error.statuses, reasonOf(error)].filter(Boolean).join(", ");
      if (!race.stopped) this.#enter("failed");
    } finally {
      clearInterval(timer);
    }
  }

  #keep(race) {
    const ratios = race.ratios(this.#result.reference);
    if (ratios.size && race.settings.kind === "numbers") this.#result.points.set(race.settings.size, ratios);
    this.#changed();
  }

  get #measure() {
    return document.querySelector("[name=measure]:checked").value;
  }

  get #busy() {
    return this.#phase === "preparing" || this.#phase === "running";
  }

  #enter(phase) {
    this.#phase = phase;
    setDisabled(byId("start"), this.#busy);
    setDisabled(byId("stop"), !this.#busy && !this.#sweeping);
    byId("race").dataset.phase = this.#sweeping && phase !== "failed" ? "running" : phase;
    this.render();
  }

  render() {
    const size = this.#size;
    byId("payload-value").textContent = bytes(size);
    this.#form.elements.payload.setAttribute("aria-valuetext", bytes(size));
    crossover.draw(byId("crossover"), this.#live(), SIZES, size);
    this.#renderLanes();
    say(byId("headline-of-race"), this.#headline(size));
    say(byId("crossings"), this.#result ? crossover.crossingWords(this.#result).join(" ") : "");
    say(byId("race-result"), this.#words());
  }

  /** The result so far with the point that is being measured. */
  #live() {
    const result = this.#result ?? { reference: REFERENCES[0], points: new Map() };
    const race = this.#busy ? this.#race : null;
    const ratios = race?.settings.kind === "numbers" ? race.ratios(result.reference) : new Map();
    if (!ratios.size) return result;
    return { reference: result.reference, points: new Map([...result.points, [race.settings.size, ratios]]) };
  }

  #renderLanes() {
    const measure = this.#measure;
    const empty = { elapsed: [], served: [], hop: [], errors: 0, message: null };
    const shown = this.#race?.lanes ?? new Map(this.#chosen().map((name) => [name, empty]));
    const lanes = new Map([...shown].map(([name, lane]) => [name, sorted(lane[measure])]));
    byId("strips").replaceChildren(strips(lanes, byId("strips").clientWidth));
    byId("race-table").tBodies[0].replaceChildren(...[...shown].map(([name, lane]) => row(name, lane, lanes.get(name))));
    byId("progress").value = this.#race?.share ?? 0;
  }

  /** What the interval at this payload supports, for gRPC as its library speaks it and for the lean client. */
  #headline(size) {
    const ratios = this.#result?.points.get(size);
    if (!ratios && this.#phase === "failed") return t("raceFailed", { reason: this.#failure });
    if (!ratios) return t(this.#busy ? "raceMeasuring" : "raceNothing", { payload: bytes(size) });
    const { reference } = this.#result;
    const first = ratios.has("grpc") ? "grpc" : [...ratios.keys()][0];
    const lean = first === "grpc" && ratios.has("grpc-lean");
    return [
      t(this.#origin === "link" ? "atPayloadThere" : "atPayload", { payload: bytes(size) }),
      comparison([first, reference], ratios.get(first)),
      lean ? `${t("equalCare")} ${comparison(["grpc-lean", reference], ratios.get("grpc-lean"))}` : "",
    ].filter(Boolean).join(" ");
  }

  #words() {
    if (this.#phase === "preparing") return t("racePreparing");
    if (this.#phase === "failed") return t("raceFailed", { reason: this.#failure });
    if (this.#phase !== "done" || !this.#race) return "";
    const medians = [...this.#race.lanes].map(([name, lane]) =>
      `${name} ${ms(quantile(sorted(lane[this.#measure]), 0.5))}`).join(", ");
    return (this.#race.stopped ? t("raceStopped") : "")
      + t("raceResult", { medians, measure: t(MEASURES[this.#measure]), payload: bytes(this.#race.settings.size) });
  }
}

const pause = (time) => new Promise((done) => setTimeout(done, time));

/** Wait until the page is seen. */
async function visible() {
  while (document.hidden) await pause(200);
}

/** A live region speaks only when its words change. */
function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

function row(name, lane, values) {
  const figure = (text) => el("td", { class: "figure" }, text);
  const carried = lane.message ? lane.message.request + lane.message.response : null;
  return styled(el("tr", { "data-upstream": name }, el("th", { scope: "row", class: "upstream" }, name),
    figure(whole(lane.elapsed.length)), figure(ms(quantile(values, 0.5))), figure(ms(quantile(values, 0.9))),
    figure(ms(quantile(values, 0.99))), errors(lane),
    figure(carried === null ? "–" : whole(carried)), figure(carried === null ? "–" : bytes(carried * lane.elapsed.length))),
  { "--colour": colour(name) });
}

/** How many failed, and why the last of them did. */
function errors({ errors: count, error }) {
  const why = count && error ? [error.statuses, reasonOf(error)].filter(Boolean).join(", ") : null;
  return el("td", { class: "figure", title: why }, whole(count), why ? el("small", { class: "unseen" }, ` ${why}`) : null);
}
