"""tritonclient and kserve with an API key: `keyed_round_trip.py KEY KIND,URL...`. Runs in .venv-clients; knows nothing of us."""

import asyncio
import sys

import numpy as np

key, *rows = sys.argv[1:]
VALUES = np.array([[1.5, -2.0]], np.float32)
BEARER = {"Authorization": f"Bearer {key}"}


def triton(module, url, headers):
    client = module.InferenceServerClient(url)
    given = module.InferInput("x", VALUES.shape, "FP32")
    given.set_data_from_numpy(VALUES)
    assert client.is_server_ready()
    try:
        client.infer("echo-FP32", [given])
    except Exception as error:
        assert "API key" in str(error), error
    else:
        raise AssertionError("it was let in without a key")
    answer = client.infer("echo-FP32", [given], headers=headers)
    assert (answer.as_numpy("y") == VALUES).all()
    client.get_model_metadata("echo-FP32", headers=headers)


async def kserve(url):
    from kserve import InferenceRESTClient, InferInput, InferRequest
    from kserve.inference_client import RESTConfig

    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    tensor = InferInput("x", list(VALUES.shape), "FP32")
    tensor.set_data_from_numpy(VALUES, binary_data=True)
    request = InferRequest(model_name="echo-FP32", infer_inputs=[tensor])
    assert await client.is_server_ready(url)
    answer = await client.infer(url, request, headers=BEARER, model_name="echo-FP32")
    assert answer.outputs[0].as_numpy().tolist() == VALUES.tolist()
    await client.close()


for row in rows:
    kind, where = row.split(",")
    if kind == "http":
        import tritonclient.http as over_http

        triton(over_http, where, BEARER)
    elif kind == "grpc":
        import tritonclient.grpc as over_grpc

        triton(over_grpc, where, {"authorization": BEARER["Authorization"]})
    else:
        asyncio.run(kserve(where))
    print("passed", row)
