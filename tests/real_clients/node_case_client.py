"""Run in .venv-clients: asks each case over one wire. Arguments: wire, address, file of cases. Prints counts and failures as JSON."""

import importlib
import json
import pickle
import queue
import sys
from collections import Counter

import numpy as np

WIRE, ADDRESS, FILE = sys.argv[1:]
AS_JSON = WIRE == "http json"
HTTP = WIRE.startswith("http")
types = importlib.import_module("tritonclient.http" if HTTP else "tritonclient.grpc")
NOT_IN_JSON = {"FP16", "BF16"}


def tensors(inputs, outputs):
    asked = []
    for name, kind, array in inputs:
        tensor = types.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array, **({"binary_data": not AS_JSON} if HTTP else {}))
        asked.append(tensor)
    wanted = [
        types.InferRequestedOutput(name, **({"binary_data": not AS_JSON} if HTTP else {})) for name, _, _ in outputs
    ]
    return asked, wanted


def unary(client, name, inputs, outputs):
    return client.infer(name, inputs, outputs=outputs)


class Stream:
    def __init__(self, client):
        self.answers = queue.Queue()
        client.start_stream(lambda result, error: self.answers.put((result, error)))

    def __call__(self, client, name, inputs, outputs):
        client.async_stream_infer(name, inputs, outputs=outputs)
        result, error = self.answers.get(timeout=60)
        if error is not None:
            raise error
        return result


def compare(answer, outputs):
    for name, kind, array in outputs:
        got = np.asarray(answer.as_numpy(name))
        assert got.shape == array.shape, f"'{name}' has shape {got.shape}, not {array.shape}"
        if kind == "BYTES":
            texts = [item.encode() if isinstance(item, str) else item for item in got.ravel().tolist()]
            assert texts == array.ravel().tolist(), f"'{name}' differs"
        elif kind in {"FP16", "BF16", "FP32", "FP64"}:
            np.testing.assert_allclose(got.astype("f8"), array.astype("f8"), rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(got, array)


def main():
    with open(FILE, "rb") as file:
        cases = pickle.load(file)
    client = types.InferenceServerClient(ADDRESS)
    infer = Stream(client) if WIRE == "grpc stream" else unary
    seen, failures, left_out = Counter(), {}, 0
    for name, inputs, outputs in cases:
        if AS_JSON and any(kind in NOT_IN_JSON for _, kind, _ in (*inputs, *outputs)):
            left_out += 1
            continue
        try:
            compare(infer(client, name, *tensors(inputs, outputs)), outputs)
        except Exception as error:
            failures[name] = f"{type(error).__name__}: {error}"[:400]
            continue
        seen["passed"] += 1
        for _, kind, array in (*inputs, *outputs):
            seen[kind] += 1
            seen[f"rank {array.ndim}"] += 1
            seen["empty"] += array.size == 0
        seen["several outputs"] += len(outputs) > 1
    if WIRE == "grpc stream":
        client.stop_stream()
    client.close()
    print(json.dumps({"seen": seen, "failures": failures, "left_out": left_out}))


main()
