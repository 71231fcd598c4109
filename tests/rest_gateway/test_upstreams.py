"""One public API, six ways to the model: the same answers, chosen by setting or header, and what happens without one."""

from __future__ import annotations

import asyncio
import re
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protocol.wires import WIRES, Target, modules
from crossover.rest_gateway.upstreams import Upstreams
from tests.fakes import RecordingInference
from tests.rest_gateway.conftest import ask

INFER = "/v2/models/digits/infer"


@pytest.mark.parametrize("upstream", WIRES)
def test_every_upstream_gives_the_same_answer(gateway, digit, samples, upstream):
    """The hop changes, the answer does not; the reply names the upstream and its stations."""
    reply = gateway("POST", INFER, digit, Inference_Upstream=upstream, Inference_Timeline="1")
    assert reply.status == 200
    assert reply.headers["inference-upstream"] == upstream
    probabilities = reply.json()["outputs"][0]["data"]
    assert int(np.argmax(probabilities)) == samples[0]["label"]
    np.testing.assert_allclose(
        probabilities, gateway("POST", INFER, digit, Inference_Upstream="grpc").json()["outputs"][0]["data"], rtol=1e-5
    )
    stations = re.findall(r"(\w+);dur=(\d+\.\d+)", reply.headers["server-timing"])
    assert [name for name, _ in stations] == ["decode", "encode", "upstream", "queue", "compute", "reply"]


@pytest.mark.parametrize("upstream", WIRES)
def test_the_stations_of_a_request_fit_into_its_time(gateway, upstream):
    """Server-Timing adds up to what the caller saw, less what the network and the caller took."""
    body = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
            {"name": "turns", "datatype": "INT64", "shape": [1], "data": [5000]},
        ]
    }
    began = time.perf_counter()
    reply = gateway("POST", "/v2/models/work/infer", body, Inference_Upstream=upstream, Inference_Timeline="1")
    whole = (time.perf_counter() - began) * 1000
    stations = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=(\d+\.\d+)", reply.headers["server-timing"])}
    assert stations["compute"] > 0
    assert sum(stations.values()) <= whole


@pytest.mark.parametrize("upstream", WIRES)
def test_binary_tensors_pass_through_bit_for_bit(gateway, upstream):
    """Negative zero and denormals included, on wires of text too."""
    values = np.array([[0.1, -0.0, 1e-45, 3.4e38]], "<f4")
    head = (
        b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"parameters":{"binary_data_size":16}}],'
        b'"parameters":{"binary_data_output":true}}'
    )
    reply = gateway(
        "POST", "/v2/models/identity/infer", head + values.tobytes(),
        Inference_Header_Content_Length=str(len(head)), Inference_Upstream=upstream,
    )  # fmt: skip
    assert reply.status == 200, reply.body
    assert reply.body[int(reply.headers["inference-header-content-length"]) :] == values.tobytes()


def test_an_unknown_upstream_is_refused_with_the_names(gateway, digit):
    """400, and the sentence lists what there is."""
    reply = gateway("POST", INFER, digit, Inference_Upstream="soap")
    assert reply.status == 400
    assert all(name in reply.json()["error"] for name in WIRES)


def test_without_the_setting_no_request_names_an_upstream(root, tmp_path, digit):
    """A gateway that does not offer the choice refuses whoever names one: in the header as in the query and the body."""
    from crossover.stack.services import running

    settings = {"DATA_DIR": str(tmp_path), "GATEWAY_UPSTREAM": "rest-binary", "GATEWAY_UPSTREAM_HEADER": "0"}
    with (tmp_path / "log").open("wb") as log, running(settings, log) as stack:
        reply = ask(stack.gateway_url, "POST", INFER, digit)
        assert (reply.status, reply.headers["inference-upstream"]) == (200, "rest-binary")
        assert "server-timing" not in reply.headers
        whole = {"model": "digits", "inputs": digit["inputs"]}
        for name in ("grpc", "rest-binary", "soap"):
            header = {"Inference_Upstream": name}
            refused = [
                ask(stack.gateway_url, "POST", INFER, digit, **header),
                ask(stack.gateway_url, "GET", "/v2/models/digits", None, **header),
                ask(stack.gateway_url, "POST", "/api/predictions", whole, **header),
                ask(stack.gateway_url, "POST", "/api/predictions", {**whole, "upstream": name}),
                ask(stack.gateway_url, "GET", f"/api/models/identity/prediction?x=1,2&upstream={name}"),
            ]
            assert {(reply.status, reply.json()["code"]) for reply in refused} == {(403, "PERMISSION_DENIED")}
        for action in ("load", "unload"):
            reply = ask(stack.gateway_url, "POST", f"/v2/repository/models/digits/{action}", {})
            assert (reply.status, reply.json()["code"]) == (403, "PERMISSION_DENIED")


def test_uploads_through_the_gateway_are_refused(gateway):
    """Public callers may load what is in the repository, not bring models along."""
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": "AAAA", "config": "{}"}):
        reply = gateway("POST", "/v2/repository/models/digits/load", {"parameters": parameters})
        assert reply.status == 403


@pytest.mark.parametrize("upstream", WIRES)
def test_deadlines_hold_over_every_upstream(gateway, upstream):
    """504 when the caller's time is over, whoever notices first."""
    body = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
            {"name": "turns", "datatype": "INT64", "shape": [1], "data": [200_000]},
        ]
    }
    reply = gateway("POST", "/v2/models/work/infer", body, Inference_Upstream=upstream, Inference_Timeout_Ms="100")
    assert (reply.status, reply.json()["code"]) == (504, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("upstream", [name for name, wire in WIRES.items() if wire.kind != "process"])
def test_what_the_model_server_means_is_what_the_caller_sees(gateway, upstream):
    """The same error, text and status over every upstream."""
    found = []
    for path, body in (
        ("/v2/models/nope/infer", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}),
        (INFER, {"inputs": [{"name": "y", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}]}),
        (INFER, {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 64], "data": [0] * 64}]}),
        (INFER, {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0] * 3}]}),
    ):
        direct = gateway("POST", path, body, Inference_Upstream="inprocess")
        over = gateway("POST", path, body, Inference_Upstream=upstream)
        found.append((over.status, over.json()["code"]))
        assert found[-1] == (direct.status, direct.json()["code"])
        assert over.json()["error"] == direct.json()["error"]
    assert [status for status, _ in found] == [404, 400, 400, 400]


@pytest.mark.parametrize("upstream", ["grpc-typed", "rest"])
def test_what_a_wire_cannot_carry_names_one_that_can(gateway, upstream):
    """FP16 has no typed contents and no JSON: 400 with the wire to use, which then takes it."""
    head = b'{"inputs":[{"name":"x","datatype":"FP16","shape":[1,2],"parameters":{"binary_data_size":4}}]}'
    body, length = head + struct.pack("<2e", 1, 2), str(len(head))
    reply = gateway(
        "POST", "/v2/models/identity/infer", body, Inference_Upstream=upstream, Inference_Header_Content_Length=length
    )
    assert (reply.status, reply.json()["code"]) == (400, "NOT_CARRIED")
    assert WIRES[upstream].instead in reply.json()["error"]


async def test_upstreams_connect_when_first_asked_for_and_once():
    """A gateway that only speaks gRPC loads no other library and opens no other connection."""
    upstreams = Upstreams("rest", Target())
    name, first = upstreams.get()
    assert name == "rest"
    assert upstreams.get("rest") == ("rest", first)
    assert upstreams.get("grpc")[1] is not first
    with pytest.raises(InferenceError) as caught:
        upstreams.get("soap")
    assert caught.value.code is Code.INVALID_ARGUMENT
    await upstreams.close()


async def test_what_a_wire_needs_is_imported_beside_the_event_loop(monkeypatch):
    """Its first calls wait for one import together; later ones find the client itself."""
    imported, made = [], []

    def imports(name):
        imported.append((name, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr("crossover.rest_gateway.upstreams.importlib", SimpleNamespace(import_module=imports))
    monkeypatch.setattr(
        "crossover.rest_gateway.upstreams.connect", lambda name, _: made.append(name) or RecordingInference()
    )
    upstreams = Upstreams("grpc", Target())
    _, first = upstreams.get()
    assert await asyncio.gather(*(first.server_ready(CallContext()) for _ in range(3))) == [True] * 3
    assert imported == [(name, False) for name in modules("grpc", Target())]
    assert made == ["grpc"]
    assert upstreams.get()[1] is not first
    assert await upstreams.get()[1].server_ready(CallContext())
    assert made == ["grpc"]
    await upstreams.close()


async def test_a_wire_that_cannot_be_made_is_tried_again(monkeypatch):
    """A setting that does not do now may do at the next call."""
    outcomes = [InferenceError(Code.UNAVAILABLE, "not now"), RecordingInference()]

    def makes(name, target):
        if isinstance(outcome := outcomes.pop(0), InferenceError):
            raise outcome
        return outcome

    monkeypatch.setattr("crossover.rest_gateway.upstreams.connect", makes)
    upstreams = Upstreams("rest", Target())
    _, client = upstreams.get()
    with pytest.raises(InferenceError, match="not now"):
        await client.server_metadata(CallContext())
    assert (await client.server_metadata(CallContext())).name == "fake"
    await upstreams.close()


async def test_closing_one_client_badly_still_closes_the_others(monkeypatch):
    """A client that fails at the end must not leave the others open."""
    closed = []

    class Closing(Wrapper):
        def __init__(self, name):
            super().__init__(RecordingInference())
            self.name = name

        async def close(self):
            closed.append(self.name)
            if self.name == "grpc":
                raise OSError("broken")

    monkeypatch.setattr("crossover.rest_gateway.upstreams.connect", lambda name, target: Closing(name))
    upstreams = Upstreams("grpc", Target())
    for name in ("grpc", "rest"):
        await upstreams.get(name)[1].server_ready(CallContext())
    await upstreams.close()
    assert closed == ["grpc", "rest"]


def test_readiness_and_errors_follow_the_upstream(tmp_path, digit):
    """Down: 503 with Retry-After at once, over every wire, while the gateway itself lives; up again: by itself."""
    from crossover.stack.services import running

    settings = {"DATA_DIR": str(tmp_path), "GATEWAY_UPSTREAM_HEADER": "1"}
    wires = [name for name, wire in WIRES.items() if wire.kind != "process"]
    with (tmp_path / "log").open("wb") as log, running(settings, log) as stack:

        def over(wire):
            return ask(stack.gateway_url, "POST", INFER, digit, Inference_Upstream=wire)

        assert [over(wire).status for wire in wires] == [200] * len(wires)
        stack.model_server.kill()
        for wire in wires:
            reply = over(wire)
            assert (reply.status, reply.json()["code"], reply.headers["retry-after"]) == (503, "UNAVAILABLE", "1")
        ready = ask(stack.gateway_url, "GET", "/v2/health/ready")
        assert (ready.status, ready.json()["ready"], ready.headers["retry-after"]) == (503, False, "1")
        assert ask(stack.gateway_url, "GET", "/v2/health/live").status == 200
        stack.model_server = stack.start_model_server()
        stack.model_server.await_ready()
        for wire in wires:
            asyncio.run(_eventually(lambda wire=wire: over(wire).status == 200))


async def _eventually(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
