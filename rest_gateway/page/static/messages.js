// A gRPC message as it was on the wire: its bytes in hexadecimal beside what they say, field by field.

import { el } from "./dom.js";
import { t } from "./language.js";
import { whole } from "./numbers.js";

/** Field numbers of the messages that carry an inference (protos/). */
const NAMES = {
  "inference.ModelInferRequest": {
    1: "model_name", 2: "model_version", 3: "id", 4: "parameters", 5: "inputs", 6: "outputs", 7: "raw_input_contents",
  },
  "inference.ModelInferResponse": {
    1: "model_name", 2: "model_version", 3: "id", 4: "parameters", 5: "outputs", 6: "raw_output_contents",
  },
  "inference.ModelStreamInferResponse": { 1: "error_message", 2: "infer_response" },
};
const PREFIX = 5;

/** Top-level fields of a message as `{name, from, to}`; what is cut off at its end belongs to the last one. */
export function fields(bytes, type) {
  const names = NAMES[type] ?? {};
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const from = at;
    const [tag, afterTag] = varint(bytes, at);
    const kind = tag & 7;
    if (kind === 2) {
      const [length, start] = varint(bytes, afterTag);
      at = start + length;
    } else at = kind === 0 ? varint(bytes, afterTag)[1] : kind === 5 ? afterTag + 4 : kind === 1 ? afterTag + 8 : bytes.length;
    found.push({ name: names[tag >>> 3] ?? String(tag >>> 3), from, to: Math.min(at, bytes.length) });
  }
  return found;
}

function varint(bytes, at) {
  let value = 0;
  for (let shift = 0; at < bytes.length && shift < 35; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) break;
  }
  return [value, at];
}

const fromHex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** Bytes and meaning of a message side by side; pointing at a field in one marks it in the other. */
export function sideBySide({ message_type: type, message, message_bytes: size, message_cut: messageCut, framed_hex: hex, framed_cut: cut }) {
  const bytes = fromHex(hex ?? "");
  const parts = [
    ...(bytes.length ? [mark("prefix", toHex(bytes.subarray(0, PREFIX)), t("exchangePrefix", { bytes: whole(size) }))] : []),
    ...fields(bytes.subarray(PREFIX), type).map(({ name, from, to }) => mark(name, toHex(bytes.subarray(PREFIX + from, PREFIX + to)), name)),
  ];
  const decoded = [
    ...(bytes.length ? [mark("prefix", t("exchangePrefix", { bytes: whole(size) }))] : []),
    ...Object.entries(message ?? {}).map(([name, value]) => mark(name, `${name}: ${compact(value)}`)),
    ...(messageCut ? [`… (${t("exchangeCut")})`] : []),
  ];
  const box = el("div", { class: "message" },
    column(t("exchangeHex"), "hex", [...spaced(parts, " "), ...(cut ? [` … (${t("exchangeCut")})`] : [])]),
    column(t("exchangeDecoded"), "decoded", spaced(decoded, "\n")));
  for (const name of ["pointerover", "focusin"]) box.addEventListener(name, (event) => join(box, event.target));
  box.addEventListener("pointerleave", () => join(box, null));
  return box;
}

const column = (title, kind, children) =>
  el("div", {}, el("h6", {}, title), el("pre", { class: kind, tabindex: "0", "aria-label": title }, ...children));
const spaced = (parts, space) => parts.flatMap((part, i) => (i ? [space, part] : [part]));
const mark = (name, text, title = null) => el("span", { "data-field": name, title }, text);

function join(box, target) {
  const name = target?.closest?.("[data-field]")?.dataset.field;
  for (const node of box.querySelectorAll("[data-field]")) node.classList.toggle("joined", node.dataset.field === name);
}

/** Indented JSON whose lists of numbers stay on one line. */
export function compact(value) {
  return JSON.stringify(value, null, 2).replace(/\[\s+([-\d.e+,\s]+?)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, " ")}]`);
}
