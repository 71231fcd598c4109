// The gateway's resources as this page uses them. Every failure is a `Refused` with status, code and one sentence.

import { t } from "./language.js";
import { inLanguage } from "./sentences.js";
import { asBinary, fromBinary } from "./tensors.js";

const AWAY = "GATEWAY_AWAY"; // this page's own word: no service answered
const PREDICTIONS = "/api/predictions";
const PATIENCE_MS = 10000; // an upstream that is silent so long counts as failed
let key = null;
let asking = null;

/** gRPC's names of the gateway's finer codes, where they differ (the error table in protocol/errors.py). */
const GRPC = {
  NOT_CARRIED: "INVALID_ARGUMENT", INSUFFICIENT_SCOPE: "PERMISSION_DENIED", MISDIRECTED: "PERMISSION_DENIED",
  METHOD_NOT_ALLOWED: "UNIMPLEMENTED", UNSUPPORTED_MEDIA_TYPE: "UNIMPLEMENTED", OVERLOADED: "RESOURCE_EXHAUSTED",
  TOO_LARGE: "RESOURCE_EXHAUSTED", WORKER_LOST: "UNAVAILABLE",
};

export class Refused extends Error {
  constructor(status, code, detail, exchange = null) {
    super(detail);
    Object.assign(this, { status, code, detail, exchange });
  }

  /** HTTP's status with gRPC's beside it; empty when there was no answer at all. */
  get statuses() {
    if (this.code === AWAY) return "";
    return [this.status, this.code && (GRPC[this.code] ?? this.code)].filter(Boolean).join(" ");
  }

  /** Why, in the page's language: the service's own sentence, or what its code means. */
  get reason() {
    return inLanguage(this.detail) ?? this.codeWords ?? t("reasonStatus", { status: this.status || "–" });
  }

  /** What the code means, in the page's language. */
  get codeWords() {
    const known = t(`reason_${this.code}`);
    return known === `reason_${this.code}` ? null : known;
  }
}

/** One sentence for any failure. */
export const reasonOf = (error) => error.reason ?? String(error.message ?? error);

/** Ask the reader for an API key, once for all requests that need one; it is forgotten with the page. */
function askForKey() {
  asking ??= Promise.resolve().then(() => {
    key = prompt(t("keyNeeded"))?.trim() || null;
    return key !== null;
  });
  return asking;
}

async function send(path, options) {
  const bearer = key === null ? {} : { Authorization: `Bearer ${key}` };
  try {
    return await fetch(path, { cache: "no-store", ...options, headers: { ...options.headers, ...bearer } });
  } catch (error) {
    if (options.signal?.aborted && error.name === "AbortError") throw error;
    if (error.name === "TimeoutError") throw new Refused(0, "DEADLINE_EXCEEDED", t("reason_SILENT"));
    throw new Refused(0, AWAY, t("reason_GATEWAY_AWAY"));
  }
}

async function ask(path, options = {}) {
  let reply = await send(path, options);
  if (reply.status === 401 && (await askForKey())) reply = await send(path, options);
  if (reply.ok) return reply;
  throw await refused(path, options, reply);
}

async function refused(path, { method = "GET", headers = {}, body }, reply) {
  const text = await reply.text().catch(() => "");
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // what is in between may answer with anything
  }
  const sent = typeof body === "string" ? { body, body_bytes: body.length } : { body: "", body_bytes: body?.length ?? 0 };
  const exchange = {
    request: { method, target: path, version: "HTTP", headers: Object.entries(headers), ...sent },
    response: { status: reply.status, headers: [...reply.headers], body: text.slice(0, 16384), body_bytes: text.length },
  };
  return new Refused(reply.status, problem.code ?? "", problem.detail ?? problem.error ?? `HTTP ${reply.status}`, exchange);
}

const json = async (path, options) => (await ask(path, options)).json();
const sending = (method, body, headers = {}) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(body),
});
const through = (upstream) => (upstream ? { "Inference-Upstream": upstream } : {});

export const gateway = () => json("/page/gateway.json");
export const samples = async (model) => (await json(`/api/models/${model}/samples`)).samples;
export const exchange = (prediction) => json(prediction.links.exchange);
export const recent = (model, limit) => json(`${PREDICTIONS}?model=${model}&limit=${limit}`);
export const summary = (model) => json(`/api/prediction-summary?model=${model}`);
export const reports = async () => (await json("/reports")).reports;
export const ready = (signal) => ask("/v2/health/ready", { signal });

/** Run a model and keep the prediction; `elapsed` is what this browser saw, in milliseconds. */
export async function predict(model, upstream, inputs) {
  const body = { model, inputs, ...(upstream && { upstream }) };
  const start = performance.now();
  const reply = await ask(PREDICTIONS, { ...sending("POST", body), signal: AbortSignal.timeout(1.5 * PATIENCE_MS) });
  const prediction = await reply.json();
  const elapsed = performance.now() - start;
  return { prediction, elapsed, etag: reply.headers.get("ETag") };
}

/** Change the label of the current version of a prediction (RFC 7396 with If-Match). */
export async function correct(id, label, etag = null) {
  const path = `${PREDICTIONS}/${id}`;
  const current = etag ?? (await ask(path)).headers.get("ETag");
  const patch = { "Content-Type": "application/merge-patch+json", "If-Match": current };
  const reply = await ask(path, sending("PATCH", { label }, patch));
  return { prediction: await reply.json(), etag: reply.headers.get("ETag") };
}

export const remove = (id) => ask(`${PREDICTIONS}/${id}`, { method: "DELETE" });

/** A request of the binary tensor form: `{model, head, body}`. */
export const binaryRequest = (model, tensors) => ({ model, ...asBinary(tensors) });

/** One inference in the binary tensor form, so that this side costs every upstream the same and little; nothing is kept. */
export async function infer({ model, head, body }, upstream, signal) {
  const headers = {
    "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(head), ...through(upstream),
    "Inference-Timeout-Ms": String(PATIENCE_MS), "Inference-Timeline": "1",
  };
  const patience = AbortSignal.timeout(1.5 * PATIENCE_MS);
  const start = performance.now();
  const reply = await ask(`/v2/models/${model}/infer`, {
    method: "POST", headers, body, signal: signal ? AbortSignal.any([signal, patience]) : patience,
  });
  const content = await reply.arrayBuffer();
  const elapsed = performance.now() - start;
  const outputs = () => fromBinary(Number(reply.headers.get("Inference-Header-Content-Length")), content);
  return { elapsed, stations: stations(reply.headers.get("Server-Timing")), outputs };
}

/** `Server-Timing` as durations in milliseconds by name. */
export function stations(header) {
  const found = [...(header ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)];
  return Object.fromEntries(found.map(([, name, duration]) => [name, Number(duration)]));
}

/** The time in the gateway and behind it; the browser's own where the gateway does not say (GATEWAY_TIMING=0). */
export const served = ({ elapsed, stations: spent }) =>
  ("upstream" in spent ? Object.values(spent).reduce((sum, value) => sum + value, 0) : elapsed);
