"""Run in .venv-clients: kserve's clients as their users call them. Arguments: rows of KIND,ADDRESS; KIND is rest or grpc."""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def request(binary, name="FP32", array=None):
    array = np.array([[1.5, 2.5]], np.float32) if array is None else array
    tensor = InferInput("x", list(array.shape), name)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return InferRequest(model_name=f"echo-{name}", infer_inputs=[tensor])


async def rest(address):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(address)
    assert await client.is_server_ready(address)
    assert await client.is_model_ready(address, "echo-FP32")
    for binary in (True, False):
        answer = await client.infer(address, request(binary), model_name="echo-FP32")
        assert answer.outputs[0].as_numpy().tolist() == [[1.5, 2.5]]
    empty = await client.infer(address, request(True, array=np.zeros((0, 2), np.float32)), model_name="echo-FP32")
    assert list(empty.outputs[0].shape) == [0, 2]
    try:
        await client.infer(address, request(True), model_name="nope")
    except Exception as error:
        assert "not found" in str(error), error
    else:
        raise AssertionError("an unknown model was served")
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await first.is_server_live(address)
    assert await first.is_model_ready(address, "echo-FP32")
    answer = await first.infer(address, {"instances": [[1.5, 2.5], [3, 4]]}, model_name="echo-FP32")
    assert answer["predictions"] == [[1.5, 2.5], [3, 4]]
    await client.close()
    await first.close()


async def grpc(address):
    client = InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("echo-FP32")
    for binary in (True, False):
        answer = await client.infer(request(binary))
        assert answer.outputs[0].as_numpy().tolist() == [[1.5, 2.5]]
    await client.close()


for row in sys.argv[1:]:
    kind, where = row.split(",")
    asyncio.run(rest(where) if kind == "rest" else grpc(where))
    print("passed", row)
