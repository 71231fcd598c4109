// The very exchange: the HTTP that this browser spoke, and what the gateway said to the model server.

import * as api from "./api.js";
import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { whole } from "./numbers.js";
import { about, colour } from "./ways.js";

/** A closed part of the page that reads the exchange when it is opened. */
export function details(prediction) {
  const box = el("div", { class: "exchange" });
  const name = styled(el("span", { class: "way" }, prediction.upstream), { "--way": colour(prediction.upstream) });
  const line = el("span", { class: "line" }, about(prediction.upstream));
  const node = el("details", { "data-upstream": prediction.upstream }, el("summary", {}, name, line), box);
  node.addEventListener("toggle", async () => {
    if (!node.open || box.childElementCount) return;
    try {
      const { http, upstream } = await api.exchange(prediction);
      box.replaceChildren(...(http ? [httpHalf(http)] : []), ...(upstream ? [upstreamHalf(upstream)] : []));
    } catch (error) {
      box.replaceChildren(el("p", { class: "hint" }, t("failedReason", { reason: error.message })));
    }
  });
  return node;
}

function httpHalf({ request, response }) {
  return half("exchangeHttp",
    side("exchangeRequest", `${request.method} ${request.target} ${request.version}`,
      pairs("exchangeHeaders", request.headers), body(request, request.body_bytes)),
    side("exchangeResponse", `${t("exchangeStatus")} ${response.status}`,
      pairs("exchangeHeaders", response.headers), body(response, response.body_bytes)));
}

function grpcHalf({ request, response }) {
  const sent = { type: request.message_type, bytes: whole(request.message_bytes), prefix: request.frame_prefix_bytes };
  const got = { type: response.message_type, bytes: whole(response.message_bytes) };
  return half("exchangeGrpc",
    side("exchangeRequest", `${request.method} ${request.path} ${request.version}`,
      pairs("exchangeMetadata", request.metadata), part(t("exchangeMessage", sent), message(request))),
    side("exchangeResponse", `HTTP ${response.http_status ?? "–"} · grpc-status ${response.grpc_status ?? "–"}`,
      part(t("exchangeReply", got), message(response)), pairs("exchangeTrailers", response.trailers)));
}

function restHalf({ request, response }) {
  return half("exchangeRest",
    side("exchangeRequest", `${request.method} ${request.path} ${request.version}`,
      pairs("exchangeHeaders", request.headers), body(request, request.message_bytes), binary(request)),
    side("exchangeResponse", `${t("exchangeStatus")} ${response.http_status ?? "–"}`,
      pairs("exchangeHeaders", response.headers), body(response, response.message_bytes), binary(response)));
}

function processHalf({ request }) {
  return half("exchangeProcess",
    side("exchangeRequest", request.call ?? "", el("p", { class: "hint" }, t("exchangeProcessSaid"))));
}

const HALVES = { grpc: grpcHalf, rest: restHalf, process: processHalf };
const upstreamHalf = (upstream) => (HALVES[upstream.kind] ?? processHalf)(upstream);

const half = (title, ...sides) => el("section", {}, el("h4", {}, t(title)), ...sides);
const side = (title, line, ...parts) =>
  el("div", { class: "side" }, el("h5", {}, t(title)), el("code", { class: "line" }, line), ...parts);
const part = (title, text) => el("div", {}, el("h6", {}, title), el("pre", { tabindex: "0" }, text));
const pairs = (title, list) =>
  list?.length ? part(t(title), list.map(([name, value]) => `${name}: ${value}`).join("\n")) : null;
const binary = (said) => (said.binary_hex ? part(t("exchangeBinary"), said.binary_hex) : null);

function body(said, size) {
  return said.body ? part(t("exchangeBody", { bytes: whole(size) }), pretty(said.body) + cut(said.body_cut)) : null;
}

const message = (said) => compact(said.message) + cut(said.message_cut);
const cut = (was) => (was ? `\n… (${t("exchangeCut")})` : "");

function pretty(text) {
  try {
    return compact(JSON.parse(text));
  } catch {
    return text;
  }
}

/** Indented JSON whose lists of numbers stay on one line. */
function compact(value) {
  return JSON.stringify(value, null, 2).replace(/\[\s+([-\d.e+,\s]+?)\s+\]/g, (_, list) => `[${list.replace(/\s+/g, " ")}]`);
}
