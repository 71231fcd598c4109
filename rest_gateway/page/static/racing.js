// The race as it is seen: settings, strips and numbers that grow, and the words at the end.

import { byId, el, styled } from "./dom.js";
import { t } from "./language.js";
import { bytes, ms, whole } from "./numbers.js";
import { quantile, sorted } from "./quantiles.js";
import { Race } from "./race.js";
import { strips } from "./strips.js";
import { choices, colour } from "./ways.js";

const SIZES = [1 << 10, 1 << 14, 1 << 16, 1 << 18, 1 << 20];
const CONCURRENCY = [1, 2, 4, 8];
const COUNTS = [50, 200, 500, 2000];
const AT_FIRST = { payload: 1 << 16, concurrency: 1, count: 200 };
const MEASURES = { elapsed: "measureSeen", served: "measureServed", hop: "measureHop" };
const FRAME_MS = 120;

export class Racing {
  #form = byId("race-form");
  #gateway;
  #chosen;
  #race = null;
  #phase = "idle";
  #failure = "";

  constructor(gateway, names) {
    this.#gateway = gateway;
    const fill = (name, values, text) => this.#form.elements[name].append(
      ...values.map((value) => el("option", { value, selected: value === AT_FIRST[name] }, text(value))));
    fill("payload", SIZES, bytes);
    fill("concurrency", CONCURRENCY, whole);
    fill("count", COUNTS, whole);
    this.#chosen = choices(byId("racers"), names);
    if (!gateway.timing) this.#onlySeen();
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    byId("stop").addEventListener("click", () => this.#race?.stop());
    byId("measure").addEventListener("change", () => this.render());
    addEventListener("resize", () => this.render());
  }

  /** Without Server-Timing there is nothing but what this browser saw. */
  #onlySeen() {
    for (const choice of document.querySelectorAll("[name=measure]")) {
      choice.checked = choice.value === "elapsed";
      choice.disabled = !choice.checked;
    }
  }

  async #start() {
    const names = this.#chosen();
    if (!names.length || this.#busy) return;
    const of = (name) => Number(this.#form.elements[name].value);
    this.#race = new Race({
      names, kind: this.#form.elements.kind.value, size: of("payload"), concurrency: of("concurrency"),
      count: of("count"), choosable: this.#gateway.choosable,
    });
    byId("race-view").hidden = false;
    await this.#through();
  }

  async #through() {
    const timer = setInterval(() => this.render(), FRAME_MS);
    try {
      this.#enter("preparing");
      await this.#race.prepare();
      this.#enter("running");
      await this.#race.run();
      this.#enter("done");
    } catch (error) {
      this.#failure = error.message;
      this.#enter(this.#race.stopped ? "done" : "failed");
    } finally {
      clearInterval(timer);
    }
  }

  get #measure() {
    return document.querySelector("[name=measure]:checked").value;
  }

  get #busy() {
    return this.#phase === "preparing" || this.#phase === "running";
  }

  #enter(phase) {
    this.#phase = phase;
    byId("start").disabled = this.#busy;
    byId("stop").disabled = !this.#busy;
    byId("race").dataset.phase = phase;
    this.render();
  }

  render() {
    if (!this.#race) return;
    const measure = this.#measure;
    const lanes = new Map([...this.#race.lanes].map(([name, lane]) => [name, sorted(lane[measure])]));
    byId("strips").replaceChildren(strips(lanes, byId("strips").clientWidth));
    const rows = [...this.#race.lanes].map(([name, lane]) => row(name, lane, lanes.get(name)));
    byId("race-table").tBodies[0].replaceChildren(...rows);
    byId("progress").value = this.#race.share;
    const words = this.#words(lanes);
    if (byId("race-result").textContent !== words) byId("race-result").textContent = words;
  }

  #words(lanes) {
    if (this.#phase === "preparing") return t("racePreparing");
    if (this.#phase === "failed") return t("raceFailed", { reason: this.#failure });
    if (this.#phase !== "done") return "";
    const medians = [...lanes].map(([name, values]) => `${name} ${ms(quantile(values, 0.5))}`).join(", ");
    return (this.#race.stopped ? t("raceStopped") : "") + t("raceResult", { medians, measure: t(MEASURES[this.#measure]) });
  }
}

function row(name, lane, values) {
  const figure = (text) => el("td", { class: "figure" }, text);
  const carried = lane.message ? lane.message.request + lane.message.response : null;
  return styled(el("tr", { "data-upstream": name }, el("th", { scope: "row", class: "way" }, name),
    figure(whole(lane.elapsed.length)), figure(ms(quantile(values, 0.5))), figure(ms(quantile(values, 0.9))),
    figure(ms(quantile(values, 0.99))), figure(whole(lane.errors)),
    figure(carried === null ? "–" : whole(carried)), figure(carried === null ? "–" : bytes(carried * lane.elapsed.length))),
  { "--way": colour(name) });
}
