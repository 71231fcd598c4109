// The page put together.

import * as api from "./api.js";
import { Answers } from "./answers.js";
import { Board } from "./board.js";
import { byId, el, setDisabled } from "./dom.js";
import { Drawing } from "./drawing.js";
import { details } from "./exchange.js";
import { choose, t, translate, whenLanguageChanges } from "./language.js";
import * as link from "./link.js";
import { answered, attempt, installNotices, notify, Watch } from "./notices.js";
import * as reports from "./reports.js";
import { png, save } from "./png.js";
import * as picture from "./picture.js";
import { CONCURRENCY, Racing, SIZES } from "./racing.js";
import { Recent } from "./recent.js";
import { reduce } from "./reduce.js";
import { measure } from "./rounds.js";
import { DIGIT } from "./sample.js";
import { AT_FIRST, choices, offered } from "./upstreams.js";

const MODEL = "digits";
const VISITED = "crossover.raced";
const wanted = link.read(location.search, { sizes: SIZES, concurrency: CONCURRENCY });
const state = { picture: null, origin: () => t("originNone"), drawn: false, reports: null, gateway: null };
const board = new Board(byId("board"), byId("axis"));
const answers = new Answers(byId("cards"));
const recent = new Recent(MODEL, byId("recent").tBodies[0], byId("summary"));
const drawing = new Drawing(byId("canvas"), drawn);
let samples = [];
let taken = -1;
let chosen = () => wanted.upstreams ?? AT_FIRST;
let racing = null;
let asking = null; // what ends the measurement under way

function drawn(strokes) {
  const reduced = reduce(strokes);
  take(reduced, reduced ? () => t("originDrawn") : () => t("originNone"), reduced !== null);
}

function take(input, origin, isDrawn) {
  Object.assign(state, { picture: input, origin, drawn: isDrawn });
  showInput();
  remember();
}

function showInput() {
  picture.show(byId("picture"), state.picture);
  byId("origin").textContent = state.origin();
  setDisabled(byId("ask"), state.picture === null || byId("first").getAttribute("aria-busy") === "true");
}

function showSample(number, of, { inputs, label }) {
  drawing.show(inputs);
  take(inputs, number === null ? () => t("originFirst", { label }) : () => t("originSample", { number, of, label }), false);
}

async function takeSample() {
  const read = async () => {
    if (!samples.length) samples = await api.samples(MODEL);
  };
  if (!(await attempt(read, (error) => () => t("noSamples", { reason: api.reasonOf(error) })))) return;
  if (!samples.length) return notify(() => t("noSamplesThere"));
  taken = (taken + 1) % samples.length;
  showSample(taken + 1, samples.length, { inputs: samples[taken].inputs[0].data, label: samples[taken].label });
  await ask(false);
}

const inputs = () => [{ name: "x", datatype: "FP32", shape: [1, state.picture.length], data: state.picture }];

/** Ask the chosen upstreams; with `kept` one prediction of each is stored, with what was said on both hops. */
async function ask(kept) {
  const names = chosen();
  asking?.abort();
  if (!state.picture || !names.length) return;
  const mine = asking = new AbortController();
  busy(true);
  try {
    board.expect(names);
    if (kept) await answers.ask(MODEL, names, inputs(), state.gateway.choosable);
    const lanes = await measure({
      model: MODEL, names, values: state.picture, choosable: state.gateway.choosable, signal: mine.signal, changed: (found) => board.show(found),
    });
    if (mine.signal.aborted) return;
    board.show(lanes);
    if (!kept) answers.show(lanes);
    showExchanges(names);
    showTruth(null);
    if (kept) await attempt(() => recent.refresh());
  } finally {
    if (asking === mine) busy(false);
  }
}

function busy(is) {
  byId("first").setAttribute("aria-busy", String(is));
  byId("ask").textContent = t(is ? "asking" : "ask");
  setDisabled(byId("ask"), is || state.picture === null);
  showSummary();
}

function showSummary() {
  const is = byId("first").getAttribute("aria-busy") === "true";
  byId("agreement").textContent = is ? t("asking") : board.summary;
  byId("finding").textContent = is ? "" : board.finding;
}

function showExchanges(names) {
  byId("exchange-list").replaceChildren(...names.map((name) => details(name, async () => {
    const prediction = await answers.one(MODEL, name, inputs(), state.gateway.choosable);
    showTruth(null);
    attempt(() => recent.refresh());
    return prediction;
  }, state.gateway)));
}

function showTruth(label) {
  byId("truth").replaceChildren(...Array.from({ length: 10 }, (_, digit) => {
    const button = el("button", { type: "button", "aria-pressed": String(digit === label), onclick: () => tell(digit) }, String(digit));
    setDisabled(button, !answers.kept.length);
    return button;
  }));
}

async function tell(label) {
  await attempt(async () => {
    for (const kept of answers.kept) Object.assign(kept, await api.correct(kept.prediction.id, label, kept.etag));
  }, (error) => {
    if (error.status === 412) for (const kept of answers.kept) kept.etag = null;
    return () => (error.status === 412 ? t("changedMeanwhile") : t("failedReason", { reason: api.reasonOf(error) }));
  });
  await attempt(() => recent.refresh());
  showTruth(label);
  byId("truth").children[label].focus();
}

async function savePicture() {
  const title = byId("headline-of-race").textContent;
  save(await png(byId("crossover"), [title, byId("crossings").textContent]), "crossover.png");
}

function showReports() {
  if (state.reports) reports.show(state.reports);
}

/** Write the state into the URL, without a step in the history. */
function remember() {
  if (!racing) return;
  const upstreams = chosen();
  const usual = upstreams.join() === AT_FIRST.join();
  const query = link.write({ ...racing.state, upstreams: usual ? null : upstreams, drawing: state.drawn ? state.picture : null });
  if (query !== location.search) history.replaceState(null, "", query);
}

/** The race runs by itself where nobody else pays for it, once a visit. */
function mayRaceAlone() {
  const isQuiet = matchMedia("(prefers-reduced-motion: reduce)").matches || navigator.connection?.saveData;
  return state.gateway.local && state.gateway.choosable && !isQuiet && !racing.hasResult && !visited();
}

function visited() {
  try {
    const before = sessionStorage.getItem(VISITED);
    sessionStorage.setItem(VISITED, "1");
    return before !== null;
  } catch {
    return true; // where nothing can be remembered it would run at every reload
  }
}

function showWords() {
  showInput();
  board.render();
  showSummary();
  answers.render();
  showExchanges(board.names);
  recent.render();
  racing?.render();
  showReports();
  byId("ask").textContent = t("ask");
}

async function again() {
  await Promise.all([
    attempt(() => recent.refresh()),
    attempt(async () => {
      state.reports = await api.reports();
      showReports();
    }),
  ]);
}

async function begin() {
  translate();
  installNotices();
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => choose(button.dataset.language));
  }
  board.expect(chosen());
  if (wanted.drawing) {
    drawing.show(wanted.drawing);
    take(wanted.drawing, () => t("originLink"), true);
  } else showSample(null, 0, DIGIT);
  showTruth(null);
  whenLanguageChanges(showWords);
  document.body.dataset.words = "true";
  state.gateway = await answered(api.gateway);
  byId("version").textContent = state.gateway.version;
  const names = offered(state.gateway);
  byId("choice-note").textContent = "";
  if (!state.gateway.choosable) whenLanguageChangesNow(() => {
    byId("choice-note").textContent = t("notChoosable", { upstream: state.gateway.upstream });
  });
  chosen = choices(byId("upstreams"), names, wanted.upstreams ?? AT_FIRST, remember);
  racing = new Racing(state.gateway, names, wanted, remember);
  byId("save-picture").addEventListener("click", savePicture);
  byId("clear").addEventListener("click", () => drawing.clear());
  byId("sample").addEventListener("click", takeSample);
  byId("ask").addEventListener("click", () => ask(true));
  new Watch(() => {
    ask(false);
    again();
  });
  document.body.dataset.ready = "true";
  await ask(false);
  await again();
  if (mayRaceAlone()) await racing.sweep();
}

function whenLanguageChangesNow(work) {
  work();
  whenLanguageChanges(work);
}

attempt(begin);
