// The exchange: the HTTP that this browser spoke, and what the gateway said to the model server, as both recorded it.

import * as api from "./api.js";
import { copies } from "./copies.js";
import { el, styled } from "./dom.js";
import { t } from "./language.js";
import { compact, sideBySide } from "./messages.js";
import { whole } from "./numbers.js";
import { about, colour } from "./upstreams.js";

/** A closed part of the page for one upstream; `make` gives its prediction when it is opened, or throws why there is none. */
export function details(upstream, make, gateway) {
  const box = el("div", { class: "exchange" });
  const name = styled(el("span", { class: "upstream" }, upstream), { "--colour": colour(upstream) });
  const node = el("details", { "data-upstream": upstream }, el("summary", {}, name, el("span", { class: "line" }, about(upstream))), box);
  node.addEventListener("toggle", async () => {
    if (!node.open || box.childElementCount) return;
    box.replaceChildren(el("p", { class: "hint" }, t("running")));
    try {
      const prediction = await make();
      const { http, upstream: hop } = await api.exchange(prediction);
      box.replaceChildren(...(http ? [httpHalf(http)] : []), ...(hop ? [upstreamHalf(hop)] : []));
      box.after(copies(prediction, gateway));
    } catch (error) {
      box.replaceChildren(...failed(error));
    }
  });
  return node;
}

/** What was sent, and the problem that came back. */
export function failed(error) {
  const words = el("p", { class: "hint" }, t("failedReason", { reason: [error.statuses, api.reasonOf(error)].filter(Boolean).join(", ") }));
  return error.exchange ? [words, httpHalf(error.exchange)] : [words];
}

function httpHalf({ request, response }) {
  return half("exchangeHttp",
    side("exchangeRequest", `${request.method} ${request.target} ${request.version}`,
      pairs("exchangeHeaders", request.headers), body(request, request.body_bytes)),
    side("exchangeResponse", `${t("exchangeStatus")} ${response.status}`,
      pairs("exchangeHeaders", response.headers), body(response, response.body_bytes)));
}

function grpcHalf({ request, response }) {
  const sent = { type: request.message_type, bytes: whole(request.message_bytes) };
  const got = { type: response.message_type, bytes: whole(response.message_bytes) };
  const library = request.library;
  return half("exchangeGrpc",
    side("exchangeRequest", `${request.method} ${request.path} ${request.version}`,
      pairs(library ? "exchangeMetadata" : "exchangeHeaders", request.metadata),
      frames(request.frames),
      el("h6", {}, t("exchangeMessage", sent)), sideBySide(request)),
    side("exchangeResponse", `HTTP ${response.http_status ?? "–"} · grpc-status ${response.grpc_status ?? "–"}`,
      pairs("exchangeHeaders", response.headers), frames(response.frames),
      el("h6", {}, t("exchangeMessage", got)), sideBySide(response), pairs("exchangeTrailers", response.trailers)),
    library ? el("p", { class: "hint" }, t(request.stream ? "exchangeStreamAdds" : "exchangeLibraryAdds", { library })) : null);
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
const part = (title, text) => el("div", {}, el("h6", {}, title), el("pre", { tabindex: "0", "aria-label": title }, text));
const pairs = (title, list) =>
  list?.length ? part(t(title), list.map(([name, value]) => `${name}: ${value}`).join("\n")) : null;
const binary = (said) => (said.binary_hex ? part(t("exchangeBinary"), said.binary_hex) : null);
const frames = (list) =>
  list?.length ? part(t("exchangeFrames"), list.map(({ type, flags, bytes }) =>
    [type, t("exchangeFrameBytes", { bytes: whole(bytes) }), ...flags].join(" · ")).join("\n")) : null;

function body(said, size) {
  return said.body ? part(t("exchangeBody", { bytes: whole(size) }), pretty(said.body) + cut(said.body_cut)) : null;
}

const cut = (was) => (was ? `\n… (${t("exchangeCut")})` : "");

function pretty(text) {
  try {
    return compact(JSON.parse(text));
  } catch {
    return text;
  }
}
