// The page put together.

import * as api from "./api.js";
import { Answers } from "./answers.js";
import { byId, el } from "./dom.js";
import { Drawing } from "./drawing.js";
import { details } from "./exchange.js";
import { choose, t, translate, whenLanguageChanges } from "./language.js";
import { bytes, day } from "./numbers.js";
import * as picture from "./picture.js";
import { Racing } from "./racing.js";
import { Recent } from "./recent.js";
import { reduce } from "./reduce.js";
import { choices, offered } from "./ways.js";

const MODEL = "digits";
const state = { picture: null, origin: () => t("originNone"), notice: null, reports: null };
const answers = new Answers(byId("cards"));
const recent = new Recent(MODEL, byId("recent").tBodies[0], byId("summary"));
const drawing = new Drawing(byId("canvas"), drawn);
let samples = [];
let taken = -1;

function drawn(strokes) {
  const reduced = reduce(strokes);
  take(reduced, reduced ? () => t("originDrawn") : () => t("originNone"));
}

function take(input, origin) {
  Object.assign(state, { picture: input, origin });
  showInput();
}

function showInput() {
  picture.show(byId("picture"), state.picture);
  byId("origin").textContent = state.origin();
  byId("ask").disabled = state.picture === null || byId("cards").getAttribute("aria-busy") === "true";
}

async function takeSample() {
  try {
    if (!samples.length) samples = await api.samples(MODEL);
  } catch (error) {
    return notify(() => t("noSamples", { reason: error.message }));
  }
  taken = (taken + 1) % samples.length;
  const [number, { inputs, label }] = [taken + 1, samples[taken]];
  drawing.show(inputs[0].data);
  take(inputs[0].data, () => t("originSample", { number, of: samples.length, label }));
}

async function ask(gateway, chosen) {
  if (!state.picture || !chosen.length) return;
  const button = byId("ask");
  button.disabled = true;
  button.textContent = t("asking");
  byId("agreement").textContent = "";
  byId("answers-empty").hidden = true;
  const inputs = [{ name: "x", datatype: "FP32", shape: [1, state.picture.length], data: state.picture }];
  await answers.ask(MODEL, chosen, inputs, gateway.choosable);
  byId("answers-note").hidden = false;
  showExchanges();
  button.textContent = t("ask");
  button.disabled = false;
  showTruth(null);
  await attempt(() => recent.refresh());
}

function showExchanges() {
  const box = byId("exchanges");
  byId("agreement").textContent = answers.agreement;
  box.hidden = !answers.kept.length;
  box.querySelector("div").replaceChildren(...answers.kept.map(({ prediction }) => details(prediction)));
}

function showTruth(label) {
  byId("truth").replaceChildren(...Array.from({ length: 10 }, (_, digit) => el("button", {
    type: "button", disabled: !answers.kept.length, "aria-pressed": String(digit === label), onclick: () => tell(digit),
  }, String(digit))));
}

async function tell(label) {
  await attempt(async () => {
    for (const kept of answers.kept) {
      Object.assign(kept, await api.correct(kept.prediction.id, label, kept.etag));
    }
  });
  await attempt(() => recent.refresh());
  showTruth(label);
  byId("truth").children[label].focus();
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    notify(() => (error.status === 412 ? t("changedMeanwhile") : t("failedReason", { reason: error.message })));
    if (error.status === 412) for (const kept of answers.kept) kept.etag = null;
  }
}

function notify(words) {
  state.notice = words;
  byId("notice").hidden = words === null;
  byId("notice").textContent = words?.() ?? "";
}

function showReports() {
  if (!state.reports) return;
  byId("reports-empty").hidden = state.reports.length > 0;
  byId("report-list").replaceChildren(...state.reports.map(({ name, written_at: written, bytes: size, href }) =>
    el("li", {}, el("a", { href }, name), el("span", {}, `${day(written)} · ${bytes(size)}`))));
}

/** Open every way once, so that the first question does not pay for connections; nothing is kept. */
async function warm(gateway, names) {
  for (const name of names) {
    await api.warm(MODEL, gateway.choosable ? name : null, new Array(64).fill(0)).catch(() => {});
  }
}

async function begin() {
  translate();
  showInput();
  showTruth(null);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => choose(button.dataset.language));
  }
  byId("clear").addEventListener("click", () => drawing.clear());
  byId("sample").addEventListener("click", takeSample);
  const gateway = await api.gateway();
  byId("version").textContent = gateway.version;
  const names = offered(gateway);
  if (!gateway.choosable) notify(() => t("notChoosable", { upstream: gateway.upstream }));
  const chosen = choices(byId("upstreams"), names);
  byId("ask").addEventListener("click", () => ask(gateway, chosen()));
  const racing = new Racing(gateway, names);
  whenLanguageChanges(() => {
    showInput();
    answers.render();
    showExchanges();
    recent.render();
    racing.render();
    showReports();
    notify(state.notice);
  });
  document.body.dataset.ready = "true";
  warm(gateway, chosen());
  await Promise.all([
    attempt(() => recent.refresh()),
    attempt(async () => {
      state.reports = await api.reports();
      showReports();
    }),
  ]);
}

attempt(begin);
