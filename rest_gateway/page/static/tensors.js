// Inputs for the race, and their binary form (Open Inference Protocol, binary tensor data extension).

const NUMBER_BYTES = 4;

/** What the race sends: `size` bytes of tensor data each way. */
export const PAYLOADS = {
  numbers: (size) => ({ model: "identity", tensors: [numbers(size / NUMBER_BYTES)] }),
  bytes: (size) => ({ model: "sized", tensors: [noise(size), answerSize(size)] }),
};

function numbers(count) {
  const array = Float32Array.from({ length: count }, () => Math.random() * 2 - 1);
  return { name: "x", datatype: "FP32", shape: [1, count], array, data: Array.from(array) };
}

function noise(count) {
  const array = Uint8Array.from({ length: count }, () => Math.random() * 256);
  return { name: "x", datatype: "UINT8", shape: [count], array, data: Array.from(array) };
}

function answerSize(count) {
  return { name: "size", datatype: "INT64", shape: [1], array: BigInt64Array.of(BigInt(count)), data: [count] };
}

export const asJson = (tensors) => tensors.map(({ name, datatype, shape, data }) => ({ name, datatype, shape, data }));

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => {
    whole.set(part, at);
    return at + part.length;
  }, 0);
  return whole;
}

/** JSON header and raw data in one body; `head` is the header's length for Inference-Header-Content-Length. */
export function asBinary(tensors) {
  const inputs = tensors.map(({ name, datatype, shape, array }) => ({
    name, datatype, shape, parameters: { binary_data_size: array.byteLength },
  }));
  const header = new TextEncoder().encode(JSON.stringify({ parameters: { binary_data_output: true }, inputs }));
  return { head: header.length, body: joined([header, ...tensors.map(({ array }) => new Uint8Array(array.buffer))]) };
}

const READERS = { FP32: Float32Array, INT32: Int32Array, UINT8: Uint8Array };

/** The outputs of a binary reply whose JSON head has `head` bytes; those of other datatypes are left out. */
export function fromBinary(head, content) {
  const { outputs } = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 0, head || content.byteLength)));
  let at = head;
  return outputs.flatMap(({ name, datatype, shape, parameters, data }) => {
    const size = parameters?.binary_data_size;
    if (size === undefined) return [{ name, datatype, shape, data }];
    at += size;
    const read = READERS[datatype];
    return read ? [{ name, datatype, shape, data: Array.from(new read(content.slice(at - size, at))) }] : [];
  });
}
