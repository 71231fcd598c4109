// REST with types from the gateway's OpenAPI document (npm run types): paths, bodies and replies are checked by the compiler.
import createClient from "openapi-fetch";
import { at, pixels, say } from "./digit.js";
import type { paths } from "./gen/openapi.js";

const client = createClient<paths>({ baseUrl: at("GATEWAY", "http://127.0.0.1:8080") });

const { data, error } = await client.POST("/v2/models/{model}/infer", {
  params: { path: { model: "digits" } },
  body: { inputs: [{ name: "x", datatype: "FP32", shape: [1, 64], data: pixels }] },
});
if (error) throw new Error(JSON.stringify(error));
if (typeof data === "string") throw new Error("binary tensors were not asked for");
say("rest", data.outputs[0]!.data as number[]);

const made = await client.POST("/api/predictions", {
  body: { model: "digits", inputs: [{ name: "x", datatype: "FP32", shape: [1, 64], data: pixels }] },
});
console.log(JSON.stringify({ status: made.response.status, location: made.response.headers.get("location") }));

const missing = await client.POST("/v2/models/{model}/infer", {
  params: { path: { model: "nope" } },
  body: { inputs: [{ name: "x", datatype: "FP32", shape: [1, 64], data: pixels }] },
});
console.log(JSON.stringify({ status: missing.response.status, error: missing.error }));
