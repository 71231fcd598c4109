"""Everything that is measured runs side by side, idle when it is not its turn: floors, model servers, a gateway."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import onnxruntime

from crossover.comparison.bench import gateways
from crossover.comparison.machine import cpu
from crossover.comparison.services import ask
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target
from crossover.stack.services import ROOT, ServiceProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Collection

    from crossover.comparison.bench.gateways import Gateway
    from crossover.comparison.bench.points import Payload, Point
    from crossover.comparison.design.outcomes import Output

MODELS = {
    "digits": ROOT / "models" / "digits",
    "identity": ROOT / "models" / "identity",
    "image": Path(__file__).parent / "repository" / "image",
}
_MODEL_SERVERS = {
    "model server": {"MODEL_BATCHING": "0"},
    "batching model server": {"MODEL_BATCHING": "1"},
    "lean model server": {"MODEL_BATCHING": "0", "MODEL_SERVER_GRPC_LIBRARY": "lean"},
}
"""What each is told beside its ports."""
USUAL = frozenset({*_MODEL_SERVERS, "gateway", "lean gateway"})
COPY = "digits-copy-{}"
"""Names under which the digits are served again, so that cost can be seen to grow with the number of models."""
SHAPES: dict[Payload, tuple[int, ...]] = {"digits": (1, 64), "image": (1, 3, 224, 224)}


@dataclass(frozen=True, slots=True)
class Question:
    """A payload: its requests, sent in random order, and their right answers."""

    requests: list[InferRequest]
    expected: list[tuple[Output, ...]]


class Services:
    """Started on entering, stopped on leaving."""

    def __init__(
        self, log: Path, copies: int = 0, checkout: Path | None = None, floors: bool = True,
        names: Collection[str] = USUAL,
    ) -> None:  # fmt: skip
        """`checkout` is another one whose services are measured; `floors` are always this one's. `names`: what is started, with
        the model servers behind it, and the one that gives the right answers.
        """
        self._copies, self._checkout, self._floors = copies, checkout, floors
        behind = {gateways.GATEWAYS[name].behind for name in names if name in gateways.GATEWAYS}
        self._names = {*names, *behind, "model server"}
        self._gateways: dict[str, Gateway] = {}
        self._scratch = contextlib.ExitStack()
        self._folder = Path(self._scratch.enter_context(tempfile.TemporaryDirectory(prefix="crossover-bench-")))
        self._log = self._scratch.enter_context(log.open("ab"))
        self._services: dict[str, ServiceProcess] = {}
        listening = [
            *gateways.GATEWAYS,
            *(name + which for name in (*_MODEL_SERVERS, "floor") for which in ("", " grpc")),
        ]
        self._ports = dict(zip(listening, free_ports(len(listening)), strict=True))
        self.questions: dict[str, Question] = {}
        self.ready_at, self.ready_cpu_s = 0.0, 0.0
        """When all were ready (`time.monotonic`), and the CPU time that they had taken until then."""

    def target(self, service: str) -> Target:
        """Where a service listens on both its wires."""
        grpc = self._ports.get(f"{service} grpc", 0)
        return Target(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{self._ports[service]}")

    def address(self, service: str) -> tuple[str, int]:
        return "127.0.0.1", self._ports[service]

    def charged(self, point: Point) -> list[str]:
        """The services whose CPU the point costs."""
        gateway = self._gateways.get(point.service)
        return [point.service] if gateway is None or point.upstream == "inprocess" else [point.service, gateway.behind]

    def gateway(self, point: Point) -> Gateway | None:
        """How the point's gateway is set, if one answers it."""
        return self._gateways.get(point.service)

    def cpu_ns(self, names: list[str]) -> int:
        return sum(cpu.family_cpu_ns(self._services[name].pid) for name in names)

    def add(self, payload: str, requests: list[InferRequest]) -> None:
        """Make a payload known under a name."""
        expected = ask.answers("rest-binary", self.target("model server"), requests)
        self.questions[payload] = Question(requests, expected)

    def pids(self) -> list[int]:
        return [service.pid for service in self._services.values()]

    def memory(self) -> dict[str, int]:
        """Proportional set size of each service now, in bytes."""
        return {name: cpu.proportional_memory_bytes(service.pid) for name, service in self._services.items()}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self._services.values()):
            service.stop(5)
        self._scratch.close()

    def _start(self) -> None:
        repository = self._folder / "repository"
        repository.mkdir()
        for name, path in MODELS.items():
            (repository / name).symlink_to(path)
        for number in range(self._copies):  # without the configuration, which names the model
            copy = repository / COPY.format(number)
            copy.mkdir()
            (copy / "1").symlink_to(MODELS["digits"] / "1")
        for name, told in _MODEL_SERVERS.items():
            if name in self._names:
                self._run(name, "model_server", repository, {**self._model_server_ports(name), **told})
        self._gateways = self._scratch.enter_context(gateways.prepared(self._names, self._folder))
        for name, gateway in self._gateways.items():
            self._run(name, "rest_gateway", repository, {
                **self._model_server_ports(gateway.behind),
                "GATEWAY_PORT": str(self._ports[name]),
                "DATA_DIR": str(self._folder / name),
                **gateway.settings,
            })  # fmt: skip
        for service in self._services.values():
            service.await_ready()
        self.ready_at, self.ready_cpu_s = time.monotonic(), sum(map(cpu.whole_cpu_s, self.pids()))
        for payload, shape in SHAPES.items():
            x = np.random.default_rng(1).random(shape, np.float32)
            self.add(payload, [InferRequest(payload, [Tensor.from_array("x", x)])])
        if self._floors:
            self._start_floors()

    def _model_server_ports(self, name: str) -> dict[str, str]:
        return {
            "MODEL_SERVER_HTTP_PORT": str(self._ports[name]),
            "MODEL_SERVER_GRPC_PORT": str(self._ports[f"{name} grpc"]),
        }

    def _run(self, name: str, module: str, repository: Path, environment: dict[str, str]) -> None:
        common = {"MODEL_REPOSITORY": str(repository), "MODEL_CONTROL": "none", "LOG_LEVEL": "warning"}
        secure = name in self._gateways and self._gateways[name].tls is not None
        self._services[name] = ServiceProcess(
            module, {**common, **environment}, self.address(name), self._log, secure=secure, checkout=self._checkout
        )

    def _start_floors(self) -> None:
        replies = self._folder / "replies"
        replies.mkdir()
        for payload, question in self.questions.items():
            for name, data in _replies(payload, question.expected[0]).items():
                (replies / name).write_bytes(data)
        environment = {
            "FLOOR_REST_PORT": str(self._ports["floor"]),
            "FLOOR_GRPC_PORT": str(self._ports["floor grpc"]),
            "FLOOR_REPLIES": str(replies),
        }
        floor = ServiceProcess("comparison.bench.floors", environment, self.address("floor"), self._log)
        self._services["floor"] = floor
        floor.await_ready()


def _replies(payload: str, expected: tuple[Output, ...]) -> dict[str, bytes]:
    """The right answer in each form, for the floors to give."""
    outputs = [Tensor.from_array(o.name, np.frombuffer(o.raw, np.float32).reshape(o.shape)) for o in expected]
    response = InferResponse(payload, "1", outputs)
    binary = binary_codec.encode_response(response, ReplyForm(default=True))
    return {
        f"{payload}-rest": json_codec.encode_response(response),
        f"{payload}-rest-binary": b"".join(binary.parts),
        f"{payload}-rest-binary-head": str(binary.header_length).encode(),
        f"{payload}-grpc": protobuf_codec.encode_response(response),
    }


def engine_ns(payload: Payload, seconds: float) -> float:
    """CPU time of one `session.run` in a loop, in ns: the floor of everything that answers with this model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = MODELS[payload] / "1" / "model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.random.default_rng(1).random(SHAPES[payload], np.float32)}
    count, began, until = 0, time.process_time_ns(), time.monotonic() + seconds
    while time.monotonic() < until:
        session.run(None, feed)
        count += 1
    return (time.process_time_ns() - began) / count
