// gRPC with Connect for Node: classes are generated from protos/ (npm run generate), and the compiler checks every field.
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { at, pixels, raw, say, scores } from "./digit.js";
import { GRPCInferenceService } from "./gen/open_inference_pb.js";

const transport = createGrpcTransport({ baseUrl: `http://${at("GRPC", "127.0.0.1:8001")}` });
const client = createClient(GRPCInferenceService, transport);

function request(modelName: string) {
  return {
    modelName,
    inputs: [{ name: "x", datatype: "FP32", shape: [1n, 64n] }],
    rawInputContents: [raw(pixels)],
  };
}

const reply = await client.modelInfer(request("digits"), { timeoutMs: 10_000 });
say("connect", scores(reply.rawOutputContents[0]!));

// The same over a stream: one call, three requests, three replies.
async function* requests() {
  for (const id of ["1", "2", "3"]) yield { ...request("digits"), id };
}
const ids: string[] = [];
for await (const { inferResponse } of client.modelStreamInfer(requests(), { timeoutMs: 10_000 })) {
  ids.push(inferResponse!.id);
}
console.log(JSON.stringify({ stream: ids }));

try {
  await client.modelInfer(request("nope"));
} catch (error) {
  const { code, rawMessage } = ConnectError.from(error);
  console.log(JSON.stringify({ code: Code[code], details: rawMessage }));
}
