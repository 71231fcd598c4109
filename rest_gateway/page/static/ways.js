// The upstreams as this page names and colours them. Chosen at first: one of each kind.

import { el, styled } from "./dom.js";
import { t, whenLanguageChanges } from "./language.js";

const AT_FIRST = ["inprocess", "grpc", "rest", "rest-binary"];
const ORDER = [...AT_FIRST, "grpc-typed", "grpc-lean", "grpc-stream"];

const summaries = {}; // the gateway's own words, for a way that the tables do not know

export const colour = (name) => `var(--way-${name}, var(--way-other))`;

/** What an upstream is, in the page's language where it has words for it. */
export function about(name) {
  const words = t(`about_${name}`);
  return words === `about_${name}` ? summaries[name] ?? "" : words;
}

/** The gateway's upstreams, the usual four first; only its default when a request may not choose. */
export function offered({ upstreams, upstream, choosable }) {
  Object.assign(summaries, upstreams);
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return choosable ? Object.keys(upstreams).sort((a, b) => rank(a) - rank(b)) : [upstream];
}

/** Fill a fieldset with one checkbox for each; returns a function that gives the chosen names in order. */
export function choices(fieldset, names, changed = () => {}) {
  const boxes = names.map((name) => el("input", {
    type: "checkbox", value: name, checked: names.length === 1 || AT_FIRST.includes(name), onchange: changed,
  }));
  const labels = boxes.map((box) => styled(
    el("label", {}, box, el("span", { class: "way" }, box.value),
      el("small", {}, about(box.value))),
    { "--way": colour(box.value) },
  ));
  fieldset.append(...labels);
  whenLanguageChanges(() => labels.forEach((label, i) => {
    label.querySelector("small").textContent = about(names[i]);
  }));
  return () => boxes.filter((box) => box.checked).map((box) => box.value);
}
