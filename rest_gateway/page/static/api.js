// The gateway's resources as this page uses them. Every failure is an Error with one sentence.

import { t } from "./language.js";

const PREDICTIONS = "/api/predictions";
let key = null;
let asking = null;

/** Ask whoever sits here for an API key, once for all requests that need one; it is forgotten with the page. */
function askForKey() {
  asking ??= Promise.resolve().then(() => {
    key = prompt(t("keyNeeded"))?.trim() || null;
    return key !== null;
  });
  return asking;
}

function send(path, options) {
  const bearer = key === null ? {} : { Authorization: `Bearer ${key}` };
  return fetch(path, { cache: "no-store", ...options, headers: { ...options.headers, ...bearer } });
}

async function ask(path, options = {}) {
  let reply = await send(path, options);
  if (reply.status === 401 && (await askForKey())) reply = await send(path, options);
  if (reply.ok) return reply;
  const problem = await reply.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? problem.error ?? `HTTP ${reply.status}`), { status: reply.status });
}

const json = async (path, options) => (await ask(path, options)).json();
const sending = (method, body, headers = {}) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(body),
});

export const gateway = () => json("/page/gateway.json");
export const samples = async (model) => (await json(`/api/models/${model}/samples`)).samples;
export const exchange = (prediction) => json(prediction.links.exchange);
export const recent = (model, limit) => json(`${PREDICTIONS}?model=${model}&limit=${limit}`);
export const summary = (model) => json(`/api/prediction-summary?model=${model}`);
export const reports = async () => (await json("/reports")).reports;

/** Run a model and keep the prediction; `elapsed` is what this browser saw, in milliseconds. */
export async function predict(model, upstream, inputs) {
  const body = { model, inputs, ...(upstream && { upstream }) };
  const start = performance.now();
  const reply = await ask(PREDICTIONS, sending("POST", body));
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

/** Open the way to the model through an upstream; nothing is kept. */
export const warm = (model, upstream, values) =>
  ask(`/api/models/${model}/prediction?x=${values.join(",")}${upstream ? `&upstream=${upstream}` : ""}`);

/** One inference in the binary tensor form, so that this side costs every upstream the same and little. */
export async function infer({ model, head, body }, upstream, signal) {
  const headers = {
    "Content-Type": "application/octet-stream",
    "Inference-Header-Content-Length": String(head),
    ...(upstream && { "Inference-Upstream": upstream }),
  };
  const start = performance.now();
  const reply = await ask(`/v2/models/${model}/infer`, { method: "POST", headers, body, signal });
  await reply.arrayBuffer();
  return { elapsed: performance.now() - start, stations: stations(reply.headers.get("Server-Timing")) };
}

/** `Server-Timing` as durations in milliseconds by name. */
export function stations(header) {
  const found = [...(header ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)];
  return Object.fromEntries(found.map(([, name, duration]) => [name, Number(duration)]));
}
