// The same request for other tools: curl, grpcurl, Python and k6.

import { el } from "./dom.js";
import { t } from "./language.js";

const GRPC_WIRES = ["grpc", "grpc-typed", "grpc-lean", "grpc-stream", "grpc-coalesced"];

/** Text by tool for a prediction; `gateway` knows the model server's addresses where they may be told. */
export function commands({ model, inputs, upstream }, gateway) {
  const [input] = inputs;
  const body = JSON.stringify({ inputs });
  const url = `${location.origin}/v2/models/${model}/infer`;
  const choice = gateway.choosable ? `-H 'Inference-Upstream: ${upstream}' ` : "";
  const { grpc = "127.0.0.1:8001", rest = "http://127.0.0.1:8000" } = gateway.targets ?? {};
  const wire = upstream === "inprocess" ? "grpc" : upstream;
  return {
    curl: `curl -s ${choice}-d '${body}' \\\n  ${url}`,
    grpcurl: `grpcurl -plaintext -d '${grpcBody(model, inputs)}' \\\n  ${grpc} inference.GRPCInferenceService/ModelInfer`,
    Python: python(model, input, wire, wire.startsWith("grpc") ? `grpc="${grpc}"` : `rest="${rest}"`),
    k6: GRPC_WIRES.includes(upstream) ? k6Grpc(model, inputs, grpc) : k6Http(url, body, gateway.choosable ? upstream : null),
  };
}

const grpcBody = (model, inputs) => JSON.stringify({
  model_name: model,
  inputs: inputs.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, contents: { fp32_contents: data } })),
});

const python = (model, { name, shape, data }, wire, where) => `import numpy as np
from crossover.clients import connect_sync

${name} = np.array(${JSON.stringify(data)}, np.float32).reshape(${JSON.stringify(shape)})
with connect_sync("${wire}", ${where}) as client:
    print(client.infer("${model}", {"${name}": ${name}}))`;

const k6Http = (url, body, upstream) => `import http from 'k6/http';

const body = '${body}';
const headers = { 'Content-Type': 'application/json'${upstream ? `, 'Inference-Upstream': '${upstream}'` : ""} };
export default () => http.post('${url}', body, { headers });`;

const k6Grpc = (model, inputs, grpc) => `import grpc from 'k6/net/grpc';

const client = new grpc.Client();
client.load(['protos'], 'open_inference.proto');
const message = ${grpcBody(model, inputs)};
export default () => {
  client.connect('${grpc}', { plaintext: true });
  client.invoke('inference.GRPCInferenceService/ModelInfer', message);
  client.close();
};`;

/** A row of buttons, one a tool; each shows its text and copies it where the browser lets it. */
export function copies(prediction, gateway) {
  const shown = el("pre", { tabindex: "0", hidden: true });
  const said = el("span", { class: "hint", role: "status" });
  const buttons = Object.entries(commands(prediction, gateway)).map(([tool, text]) => el("button", {
    type: "button", class: "small", "data-tool": tool,
    onclick: async () => {
      shown.hidden = false;
      shown.textContent = text;
      try {
        await navigator.clipboard.writeText(text);
        said.textContent = t("copied", { tool });
      } catch {
        said.textContent = t("copyByHand");
      }
    },
  }, t("copyAs", { tool })));
  return el("div", { class: "copies" }, el("div", { class: "row" }, ...buttons, said), shown);
}
