// The upstreams as this page names and colours them. Chosen at first: one of each kind.

import { el, styled } from "./dom.js";
import { t } from "./language.js";

const AT_FIRST = ["inprocess", "grpc", "rest", "rest-binary"];
const ORDER = [...AT_FIRST, "grpc-typed", "grpc-stream"];

export const colour = (name) => `var(--way-${name}, var(--way-other))`;

/** The gateway's upstreams, the usual four first; only its default when a request may not choose. */
export function offered({ upstreams, upstream, choosable }) {
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return choosable ? [...upstreams].sort((a, b) => rank(a) - rank(b)) : [upstream];
}

/** Fill a fieldset with one checkbox for each; returns a function that gives the chosen names in order. */
export function choices(fieldset, names, changed = () => {}) {
  const boxes = names.map((name) => el("input", {
    type: "checkbox", value: name, checked: names.length === 1 || AT_FIRST.includes(name), onchange: changed,
  }));
  const labels = boxes.map((box) => styled(
    el("label", {}, box, el("span", { class: "way" }, box.value),
      el("small", { "data-t": `about_${box.value}` }, t(`about_${box.value}`))),
    { "--way": colour(box.value) },
  ));
  fieldset.append(...labels);
  return () => boxes.filter((box) => box.checked).map((box) => box.value);
}
