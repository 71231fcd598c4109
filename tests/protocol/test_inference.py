"""`Inference` is `infer` and `control`; every control call of the service has a row in each table and a typed method in front."""

from __future__ import annotations

import pytest

from crossover.clients.rest_control import RESOURCES
from crossover.model_server.control import CONTROL
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.protos import inference as pb
from tests.fakes import RecordingInference

CALLS = {name for name, method in pb.METHODS.items() if name != "ModelInfer" and not method.client_streaming}
METHODS = {name for name in CALLS if "SharedMemory" not in name}
"""What clients of ours call: a region of shared memory is a matter between one host's client and server."""
TYPED = {
    "ServerLive": ("server_live", ()), "ServerReady": ("server_ready", ()), "ModelReady": ("model_ready", ("echo", "")),
    "ServerMetadata": ("server_metadata", ()), "ModelMetadata": ("model_metadata", ("echo", "1")),
    "ModelConfig": ("model_config", ("echo", "")), "ModelStatistics": ("model_statistics", ("", "")),
    "RepositoryIndex": ("repository_index", (True,)), "RepositoryModelLoad": ("load_model", ("echo", {"config": "{}"})),
    "RepositoryModelUnload": ("unload_model", ("echo", {})),
}  # fmt: skip


class Listening(Wrapper):
    def __init__(self) -> None:
        super().__init__(RecordingInference())
        self.heard: list[tuple[str, type]] = []

    async def control(self, method, request, context):
        self.heard.append((method, type(request)))
        return await super().control(method, request, context)


def test_an_inference_implements_three_methods():
    """Whoever adds a wire, a wrapper or an engine writes these and no more."""
    assert Inference.__abstractmethods__ == {"infer", "control", "close"}


@pytest.mark.parametrize(("table", "calls"), [(CONTROL, CALLS), (RESOURCES, METHODS)], ids=["engine", "rest"])
def test_every_control_call_has_its_row(table, calls):
    """A call that is added to the .proto file is missed by nobody."""
    assert set(table) == calls


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_a_typed_method_asks_with_the_method_s_own_message(method):
    """The typed methods stand once, in front of `control`."""
    inference = Listening()
    name, arguments = TYPED[method]
    await getattr(inference, name)(*arguments, CallContext())
    assert inference.heard == [(method, pb.METHODS[method].request)]
