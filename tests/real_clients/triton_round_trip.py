"""Run in .venv-clients: tritonclient as its users call it. Arguments: rows of KIND,ADDRESS,FORM.

KIND is http, grpc, http.aio or grpc.aio; FORM is binary or json.
"""

import asyncio
import importlib
import inspect
import sys

import ml_dtypes
import numpy as np

ARRAYS = {
    "BOOL": np.array([[True, False]]),
    "FP16": np.array([[1.5, np.inf, np.nan]], np.float16),
    "BF16": np.array([[1.5, -2.25]], ml_dtypes.bfloat16),
    "FP32": np.array([[1.1, np.nan, 3.4e38]], np.float32),
    "FP64": np.array([[1.1, 1.7e308]], np.float64),
    "BYTES": np.array([[b"", b"a", "ä".encode(), b"x" * 300]], np.object_),
    **{
        f"{sign}INT{bits}": np.array([[np.iinfo(dtype).min, np.iinfo(dtype).max]], dtype)
        for sign in ("", "U")
        for bits in (8, 16, 32, 64)
        for dtype in [np.dtype(f"{sign.lower()}int{bits}")]
    },
}


class Row:
    """One client library, address and form."""

    def __init__(self, row):
        self.kind, self.address, form = row.split(",")
        self.http, self.as_json = self.kind.startswith("http"), form == "json"
        self.types = importlib.import_module(f"tritonclient.{self.kind.split('.')[0]}")
        self.client = importlib.import_module(f"tritonclient.{self.kind}").InferenceServerClient(self.address)


async def done(value):
    return await value if inspect.isawaitable(value) else value


async def round_trip(row, name, array):
    client, types = row.client, row.types
    tensor = types.InferInput("x", list(array.shape), name)
    output = types.InferRequestedOutput("y")
    if row.http:
        tensor.set_data_from_numpy(array, binary_data=not row.as_json)
        output = types.InferRequestedOutput("y", binary_data=not row.as_json)
    else:
        tensor.set_data_from_numpy(array)
    for outputs in ([output], None):
        if outputs is None and row.as_json:
            continue
        answer = await done(client.infer(f"echo-{name}", [tensor], outputs=outputs, request_id="7"))
        got = answer.as_numpy("y")
        if name == "BYTES":
            got = np.vectorize(lambda item: item.encode() if isinstance(item, str) else item, otypes=[object])(got)
        np.testing.assert_array_equal(np.asarray(got).astype(array.dtype), array)


async def refused(says, call, *arguments):
    try:
        await done(call(*arguments))
    except Exception as error:
        assert says in str(error), f"{error!r} does not say {says}"
        return
    raise AssertionError(f"nothing was refused; expected {says}")


async def passes(row):
    client, types = row.client, row.types
    assert await done(client.is_server_live())
    assert await done(client.is_server_ready())
    assert await done(client.is_model_ready("echo-FP32"))
    metadata = await done(client.get_server_metadata())
    assert (metadata["name"] if row.http else metadata.name) == "crossover"
    await done(client.get_model_metadata("echo-FP32"))
    await done(client.get_model_config("echo-FP32"))
    await done(client.get_inference_statistics())
    index = await done(client.get_model_repository_index())
    assert len(index if row.http else index.models) >= 14
    for name, array in ARRAYS.items():
        if row.as_json and name in {"FP16", "BF16"}:
            continue
        await round_trip(row, name, array)
    wrong = types.InferInput("x", [1], "FP32")
    wrong.set_data_from_numpy(np.ones(1, np.float32))
    await refused("unexpected shape", client.infer, "echo-FP32", [wrong])
    await refused("not found", client.infer, "nope", [wrong])
    await refused("not found", client.get_model_metadata, "nope")
    if row.http:
        for coding in ("gzip", "deflate"):
            tensor = types.InferInput("x", [1, 5000], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 5000), np.float32))
            answer = await done(
                client.infer(
                    "echo-FP32", [tensor], request_compression_algorithm=coding, response_compression_algorithm=coding
                )
            )
            assert answer.as_numpy("y").sum() == 5000
    elif row.kind == "grpc":
        stream(client, types)
    await done(client.close())
    print("passed", f"{row.kind},{row.address},{'json' if row.as_json else 'binary'}")


async def make_and_pass(row):
    await passes(Row(row))


def stream(client, types):
    import queue

    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(5):
        tensor = types.InferInput("x", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[number]]))
        client.async_stream_infer("echo-INT64", [tensor], request_id=str(number))
    got = {}
    for _ in range(5):
        result, error = answers.get(timeout=10)
        assert error is None, error
        got[result.get_response().id] = int(result.as_numpy("y").item())
    assert got == {str(number): number for number in range(5)}
    client.async_stream_infer("nope", [tensor])
    assert "not found" in str(answers.get(timeout=10)[1])
    client.stop_stream()


for each in sys.argv[1:]:
    asyncio.run(make_and_pass(each))
