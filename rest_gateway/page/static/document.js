// Pages of the API's own resources: predictions, one prediction, a problem. The document is in the page already.

import { Refused } from "./api.js";
import { byId, el, styled } from "./dom.js";
import { details } from "./exchange.js";
import { choose, t, translate, whenLanguageChanges } from "./language.js";
import { compact } from "./messages.js";
import { day, moment, ms, percent, whole } from "./numbers.js";
import { thumbnail } from "./picture.js";
import { SIDE } from "./reduce.js";
import { inLanguage } from "./sentences.js";
import { colour } from "./upstreams.js";

const page = byId("page");
const found = read(byId("document").textContent);

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { detail: text };
  }
}

const KINDS = { predictions, prediction, history, problem };

const stateOf = ({ state }) => (t(`state_${state}`) === `state_${state}` ? state : t(`state_${state}`));

/** Columns of the list: the name in the tables of words, the class, and what stands in a row. */
const COLUMNS = [
  ["fieldId", null, (item) => el("a", { href: item.links.self }, item.id.slice(-12))],
  ["fieldCreated", null, (item) => day(item.created_at)],
  ["fieldModel", "wide", (item) => item.model],
  ["fieldUpstream", "upstream", (item) => item.upstream],
  ["fieldState", "wide", stateOf],
  ["fieldAnswer", "figure", (item) => item.answer?.label ?? "–"],
  ["fieldLabel", "figure wide", (item) => item.label ?? "–"],
  ["fieldTotal", "figure wide", (item) => (item.timings ? ms(item.timings.total) : "–")],
];

function predictions({ predictions: list, next }) {
  const heads = COLUMNS.map(([name, kind]) => el("th", { scope: "col", class: kind === "upstream" ? null : kind }, t(name)));
  const rows = list.map((item) => styled(el("tr", {}, ...COLUMNS.map(([, kind, cell], i) =>
    el(i ? "td" : "th", { scope: i ? null : "row", class: kind }, cell(item)))), { "--colour": colour(item.upstream) }));
  return [t("predictionsTitle"), list.length ? table(t("predictionsTitle"), heads, rows) : el("p", {}, t("noPredictions")),
    next ? el("p", {}, el("a", { href: next }, t("nextPage"))) : null];
}

/** A table whose rows are blocks on a phone, each value beside the name of its column; roles outlive that display. */
function table(title, heads, rows) {
  for (const row of rows) {
    row.setAttribute("role", "row");
    [...row.cells].forEach((cell, i) => {
      cell.setAttribute("role", i ? "cell" : "rowheader");
      cell.dataset.name = heads[i].textContent;
    });
  }
  for (const head of heads) head.setAttribute("role", "columnheader");
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    el("table", { role: "table", class: "rows" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), el("tbody", { role: "rowgroup" }, ...rows)));
}

function prediction(item) {
  const facts = {
    fieldModel: item.model, fieldVersion: item.version, fieldState: stateOf(item), fieldUpstream: item.upstream,
    fieldAnswer: item.answer && `${item.answer.label} (${percent(Number(item.answer.score))})`, fieldLabel: item.label, fieldNote: item.note,
    fieldCreated: day(item.created_at), fieldUpdated: day(item.updated_at), fieldTotal: item.timings && ms(item.timings.total),
    fieldBytes: item.message_bytes?.request ? t("messageBytesValue", { request: whole(item.message_bytes.request), response: whole(item.message_bytes.response) }) : null,
    fieldError: item.error && (inLanguage(item.error.detail) ?? item.error.detail),
  };
  const values = item.inputs?.[0]?.data?.flat?.() ?? [];
  const isPicture = item.inputs?.length === 1 && values.length === SIDE * SIDE && values.every((ink) => ink >= 0 && ink <= 16);
  return [t("predictionTitle", { id: item.id.slice(-12) }),
    isPicture ? styled(thumbnail(values), { "--side": "8rem" }) : null,
    el("dl", { class: "facts" }, ...Object.entries(facts).filter(([, value]) => value !== null && value !== undefined)
      .flatMap(([name, value]) => [el("dt", {}, t(name)), el("dd", {}, String(value))])),
    tensors("inputsTitle", item.inputs), tensors("outputsTitle", item.outputs),
    el("h2", {}, t("exchange")), details(item.upstream, async () => item, { choosable: true }),
    el("p", {}, el("a", { href: item.links.history }, t("historyLink")), " · ", el("a", { href: "/api/predictions" }, t("backToList")))];
}

const HISTORY_CLASSES = { upstream: "upstream", note: "prose" };

function history({ prediction: id, revisions }) {
  const heads = ["fieldUpdated", "fieldEvent", "fieldState", "fieldUpstream", "fieldAnswer", "fieldLabel", "fieldNote"];
  const cells = (each) => ({ state: stateOf(each), upstream: each.upstream, answer: each.answer, label: each.label, note: each.note });
  const rows = revisions.map((each) => styled(el("tr", {},
    el("th", { scope: "row" }, moment(each.at)), el("td", {}, each.event ? t(`event_${each.event}`) : "–"),
    ...Object.entries(cells(each)).map(([name, value]) => el("td", { class: HISTORY_CLASSES[name] },
      each.changed.includes(name) ? el("strong", {}, String(value ?? "–")) : String(value ?? "–")))),
  { "--colour": colour(each.upstream) }));
  return [t("historyTitle", { id: id.slice(-12) }), el("p", { class: "hint" }, t("historyHint")),
    table(t("historyTitle", { id: id.slice(-12) }), heads.map((head) => el("th", { scope: "col" }, t(head))), rows),
    el("p", {}, el("a", { href: `/api/predictions/${id}` }, t("backToPrediction")), " · ",
      el("a", { href: "/api/predictions" }, t("backToList")))];
}

const tensors = (title, list) => (list
  ? el("details", {}, el("summary", {}, t(title)), el("pre", { tabindex: "0", "aria-label": t(title) }, compact(list))) : null);

/** A service's sentence; marked as English where the page has no other. */
function sentence(detail) {
  const known = inLanguage(detail);
  return el("p", { class: "said", lang: known === null ? "en" : null }, known ?? detail);
}

function problem({ status = Number(page.dataset.status), code = "", detail, error, title }) {
  const refused = new Refused(status, code, detail ?? error ?? title ?? "");
  return [t("problemTitle", { status, reason: refused.codeWords ?? title ?? "" }),
    sentence(refused.detail), refused.statuses ? el("p", { class: "hint" }, `HTTP ${refused.statuses}`) : null];
}

function show() {
  const [title, ...parts] = KINDS[page.dataset.kind](found);
  page.replaceChildren(el("h1", {}, title), ...parts.filter(Boolean),
    el("p", { class: "hint" }, el("a", { href: "/" }, t("backHome")), " · ", t("asJson")));
  document.title = `${title} · Crossover`;
}

for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => choose(button.dataset.language));
}
translate();
whenLanguageChanges(show);
show();
document.body.dataset.words = "true";
document.body.dataset.ready = "true";
