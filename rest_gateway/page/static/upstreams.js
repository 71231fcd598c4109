// The upstreams as this page names and colours them. Chosen at first: one of each kind.

import { el, styled } from "./dom.js";
import { t, whenLanguageChanges } from "./language.js";

export const AT_FIRST = ["inprocess", "grpc", "rest", "rest-binary"];
const ORDER = ["inprocess", "grpc", "grpc-lean", "rest", "rest-binary", "grpc-typed", "grpc-stream"];

const summaries = {}; // the gateway's own words, for an upstream that the tables do not know

export const colour = (name) => `var(--colour-${name}, var(--colour-other))`;

const words = (key, otherwise) => (t(key) === key ? otherwise : t(key));

/** What an upstream is, in the page's language where it has words for it. */
export const about = (name) => words(`about_${name}`, summaries[name] ?? "");

/** An upstream with the library that speaks it, since a comparison of upstreams is one of libraries too. */
export const withLibrary = (name) => {
  const library = words(`library_${name}`, "");
  return library ? `${name} (${library})` : name;
};

/** The gateway's upstreams, the usual ones first; only its default when a request may not choose. */
export function offered({ upstreams, upstream, choosable }) {
  Object.assign(summaries, upstreams);
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return choosable ? Object.keys(upstreams).sort((a, b) => rank(a) - rank(b)) : [upstream];
}

/** Fill a fieldset with one checkbox for each; returns a function that gives the chosen names in order. */
export function choices(fieldset, names, first, changed = () => {}) {
  const boxes = names.map((name) => el("input", {
    type: "checkbox", value: name, checked: names.length === 1 || first.includes(name), onchange: changed,
  }));
  const labels = boxes.map((box) => styled(
    el("label", {}, box, el("span", { class: "upstream" }, box.value),
      el("small", {}, about(box.value))),
    { "--colour": colour(box.value) },
  ));
  fieldset.append(...labels);
  whenLanguageChanges(() => labels.forEach((label, i) => {
    label.querySelector("small").textContent = about(names[i]);
  }));
  return () => boxes.filter((box) => box.checked).map((box) => box.value);
}
