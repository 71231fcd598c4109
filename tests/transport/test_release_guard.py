"""Private interfaces of grpcio and ONNX Runtime are used with tested releases only, and loudly not used with others."""

from __future__ import annotations

import logging

import pytest

from crossover.clients import grpc_unary
from crossover.comparison.machine.provenance import provenance
from crossover.model_server import release as onnxruntime
from crossover.protocol.inference import CallContext
from crossover.service.metrics import Observer
from crossover.transport import release_guard
from crossover.transport.grpcio import release as grpcio
from crossover.transport.grpcio import request_pool, unary_call
from crossover.transport.release_guard import FAST_PATHS, FastPath
from tests.fakes import RecordingInference
from tests.grpc_service import listening, request

GRPCIO = (grpcio.REQUEST_POOL, grpcio.UNARY_CALL, grpcio.POLLER)
NEXT = "99.0.0"


@pytest.fixture
def next_release(monkeypatch):
    """Every guarded package has a release that nobody has tested."""
    monkeypatch.setattr(release_guard, "installed", lambda _: NEXT)
    for path in FAST_PATHS.values():
        monkeypatch.setattr(path, "_warned", False)


@pytest.mark.parametrize("path", [*GRPCIO, onnxruntime.SESSION_RUN], ids=lambda path: path.name)
def test_the_pinned_releases_are_tested_ones(path):
    """Whoever moves to another release looks at what is used below the public interface."""
    assert path.on


async def test_another_release_is_served_by_the_public_interface(monkeypatch, next_release, caplog):
    """Calls are answered all the same, and each shortcut that is off has one line in the log."""
    monkeypatch.setattr(request_pool.RequestPool, "__init__", lambda *_: pytest.fail("a private interface was used"))
    publicly, called = unary_call.GrpcioMethod._publicly, []
    monkeypatch.setattr(unary_call.GrpcioMethod, "_publicly", lambda *of: called.append(of) or publicly(*of))
    with caplog.at_level(logging.WARNING, "crossover.fast_path"):
        for number in range(2):
            async with listening(RecordingInference()) as target:
                client = grpc_unary.connect(target)
                assert (await client.infer(request(str(number)), CallContext())).id == str(number)
                await client.close()
    assert len(called) == 2
    lines = [record.getMessage() for record in caplog.records if record.name == "crossover.fast_path"]
    assert len(lines) == len(GRPCIO)
    for path in GRPCIO:
        [line] = [line for line in lines if f"'{path.name}'" in line]
        assert NEXT in line
        assert "1.85.x" in line


@pytest.mark.parametrize(("release", "value"), [("1.85.9", "1.0"), (NEXT, "0.0")])
def test_the_metrics_say_which_are_on(monkeypatch, release, value):
    """`crossover_fast_path` is 1 for a tested release and 0 for others."""
    monkeypatch.setattr(release_guard, "installed", lambda _: release)
    text = Observer().render().decode()
    for path in GRPCIO:
        assert f'crossover_fast_path{{name="{path.name}"}} {value}' in text


def test_provenance_says_which_are_on(next_release):
    """A result tells whether its shortcuts were on."""
    on = provenance("x", 1)["fast_paths"]
    assert {path.name: False for path in (*GRPCIO, onnxruntime.SESSION_RUN)}.items() <= on.items()


def test_a_package_that_is_missing_is_no_tested_release():
    """No fast path without its library."""
    path = FastPath("nothing", "crossover-no-such-package", "1.")
    try:
        assert not path.check()
    finally:
        del FAST_PATHS["nothing"]
