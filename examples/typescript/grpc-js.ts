// gRPC with @grpc/grpc-js: the .proto files are read when it starts, and nothing is generated.
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { at, pixels, raw, say, scores } from "./digit.js";

const protos = fileURLToPath(new URL("../../protos", import.meta.url));
const loaded = loadSync("open_inference.proto", { includeDirs: [protos], keepCase: true, longs: Number });
const { inference } = grpc.loadPackageDefinition(loaded) as any;
const client = new inference.GRPCInferenceService(at("GRPC", "127.0.0.1:8001"), grpc.credentials.createInsecure());

interface Reply {
  raw_output_contents: Uint8Array[];
}

function infer(model: string): Promise<Reply> {
  const request = {
    model_name: model,
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 64] }],
    raw_input_contents: [raw(pixels)],
  };
  const options = { deadline: Date.now() + 10_000 };
  return new Promise((resolve, reject) =>
    client.ModelInfer(request, new grpc.Metadata(), options, (error: grpc.ServiceError | null, reply: Reply) =>
      error ? reject(error) : resolve(reply),
    ),
  );
}

say("grpc-js", scores((await infer("digits")).raw_output_contents[0]!));
try {
  await infer("nope");
} catch (error) {
  const { code, details } = error as grpc.ServiceError;
  console.log(JSON.stringify({ code: grpc.status[code], details }));
}
client.close();
