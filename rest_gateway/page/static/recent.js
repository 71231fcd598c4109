// The kept predictions with their labels; a label can be given or corrected in each row.

import * as api from "./api.js";
import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { clock, ms, percent, whole } from "./numbers.js";
import { thumbnail } from "./picture.js";
import { colour } from "./upstreams.js";

const SHOWN = 12;
const DIGITS = [..."0123456789"];

export class Recent {
  #model;
  #body;
  #summary;
  #listed = [];
  #counts = null;

  constructor(model, body, summary) {
    [this.#model, this.#body, this.#summary] = [model, body, summary];
  }

  async refresh() {
    const [page, counts] = await Promise.all([api.recent(this.#model, SHOWN), api.summary(this.#model)]);
    this.#listed = page.predictions;
    this.#counts = counts;
    this.render();
  }

  render() {
    this.#body.replaceChildren(...this.#listed.map((prediction) => this.#row(prediction)));
    if (this.#counts) this.#summary.textContent = sentence(this.#counts);
  }

  #row(prediction) {
    const { id, answer, label, upstream, timings, created_at: created } = prediction;
    const known = label !== null && answer !== null;
    const node = el("tr", { "data-id": id, class: known ? (String(label) === answer.label ? "right" : "wrong") : "" },
      el("td", {}, clock(created)),
      el("td", {}, prediction.inputs ? thumbnail(prediction.inputs[0].data.flat()) : ""),
      el("td", { class: "upstream" }, upstream),
      el("td", { class: "figure strong" }, answer?.label ?? "–"),
      el("td", { class: "figure wide" }, answer ? percent(answer.score) : "–"),
      el("td", { class: "figure wide" }, timings ? ms(timings.total) : "–"),
      el("td", {}, this.#labels(prediction)));
    return styled(node, { "--colour": colour(upstream) });
  }

  #labels({ id, label, upstream, created_at: created }) {
    const chosen = label === null ? "" : String(label);
    const options = ["", ...new Set([...DIGITS, chosen].filter(Boolean))];
    const name = t("labelOf", { time: clock(created), upstream });
    const select = el("select", { "aria-label": name },
      ...options.map((value) => el("option", { value, selected: value === chosen }, value || "–")));
    select.addEventListener("change", () => this.#correct(id, select.value));
    return select;
  }

  async #correct(id, text) {
    try {
      await api.correct(id, text === "" ? null : Number(text));
      await this.refresh();
      this.#body.querySelector(`[data-id="${id}"] select`)?.focus();
    } catch (error) {
      await this.refresh();
      this.#summary.textContent = error.status === 412 ? t("changedMeanwhile") : t("failedReason", { reason: api.reasonOf(error) });
    }
  }
}

function sentence({ total, labelled, correct, accuracy }) {
  const share = accuracy === null ? "" : t("accuracy", { percent: percent(accuracy) });
  return t("summary", { total: whole(total), labelled: whole(labelled), correct: whole(correct), accuracy: share });
}
