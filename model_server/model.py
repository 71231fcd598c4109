"""A version of a model in memory, ready to run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossover.model_server import classification, layout, onnx_file, ports, reshape, warmup
from crossover.model_server import config as configuration
from crossover.model_server.binding import Signature
from crossover.model_server.isolation.processes import ProcessLimits
from crossover.model_server.isolation.session import IsolatedSession
from crossover.model_server.model_error import ModelError
from crossover.model_server.model_queue import ModelQueue
from crossover.model_server.onnx_session import OnnxSession, Port, RunControl
from crossover.model_server.queue_policy import QueuePolicy
from crossover.model_server.quickness import Quickness
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.model_server.served import ServedVersion
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb

log = logging.getLogger("crossover.repository")

"""Settings that config.pbtxt's `parameters` may change for one model."""
LOADING_FACTOR = 3
"""What loading may take of memory for each byte of the model's files: the message, the weights, and their packed copies."""
FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})


@dataclass(slots=True, eq=False)
class LoadedVersion(ServedVersion):
    """A version of an ONNX model."""

    session: OnnxSession | IsolatedSession
    quickness: Quickness
    queue: ModelQueue
    clock: Callable[[], int] = field(init=False)
    """What tells how long a run took, in ns."""

    def __post_init__(self) -> None:
        ServedVersion.__post_init__(self)
        self.clock = time.thread_time_ns if self.session.runs_alone else time.monotonic_ns

    def runs_inline(self, inputs: list[Tensor]) -> bool:
        """Whether a run with these inputs is known to be so quick that it may stay on the event loop."""
        budget = self.quickness.limit
        if budget < 0:
            return False
        for tensor in inputs:
            budget -= tensor.nbytes
        return budget >= 0

    def run(self, inputs: list[Tensor], outputs: list[str], control: RunControl) -> list[Tensor]:
        """The named outputs of inputs that were bound; blocks."""
        if self.agreed.into:
            inputs = reshape.apply_all(inputs, self.agreed.into)
        tensors = self.session.run(inputs, outputs, control)
        return reshape.apply_all(tensors, self.agreed.back) if self.agreed.back else tensors

    def warm_up(self, folder: Path, model_file: Path) -> None:
        """Run the requests of `model_warmup`; ModelError when one fails."""

        def infer(request: InferRequest) -> object:
            return self.run(request.inputs, self.signature.bind(request), RunControl())

        warmup.run(self.config, folder, model_file, infer)


def load(name: str, folder: Path, number: int, config: pb.ModelConfig, options: RuntimeOptions) -> LoadedVersion:
    """Open a version; ModelError says in one sentence why that was not possible. Blocks: call it in a thread."""
    try:
        return _load(name, folder, number, config, options)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            f"its files can't be read or copied: {error.strerror or 'the system gave no reason'}"
        ) from error
    except Exception as error:
        log.debug("model '%s' version %d", name, number, exc_info=error)
        raise ModelError("the file is an ONNX model that can't be understood") from error


def _load(name: str, folder: Path, number: int, config: pb.ModelConfig, options: RuntimeOptions) -> LoadedVersion:
    full = configuration.completed(config)
    options = options.of(full)
    with ExitStack() as opening:
        file = layout.model_file(folder, number, config.default_model_filename)
        path, facts = opening.enter_context(onnx_file.snapshot(file))
        try:
            session = _session(name, path, options, opening)
        except ModelError as error:
            raise _with_datatypes(error, facts) from error
    agreed = ports.agree(full, _ranked(session.inputs, facts.unranked), _ranked(session.outputs, facts.unranked))
    if agreed.required:
        named = ", ".join(f"'{port}'" for port in agreed.required)
        log.info(
            "model '%s': config.pbtxt calls %s optional; the graph needs it, so calls without it are refused",
            name,
            named,
        )
    floats = all(port.datatype.name in FLOATS for port in agreed.inputs)
    queue = ModelQueue(
        QueuePolicy.of(full, join=options.join),
        session if isinstance(session, IsolatedSession) else None,
        configuration.most_instances(full),
    )
    quick = floats and not facts.control_flow and not options.isolated and not full.response_cache.enable
    loaded = LoadedVersion(
        name, number, Signature.of(name, agreed.inputs, agreed.outputs, full.max_batch_size), full, agreed, session,
        Quickness(possible=quick), queue, labels=classification.labels_of(full, folder, file),
    )  # fmt: skip
    loaded.warm_up(folder, file)
    return loaded


def _with_datatypes(error: ModelError, facts: onnx_file.FileFacts) -> ModelError:
    """ONNX Runtime refuses a datatype where its first operator is, which the model's user never sees; the port comes first."""
    if not facts.beyond:
        return error
    return ModelError(
        f"{facts.beyond[0]}, which the protocol has no datatype for; a Cast in the model can make one of it that it has"
    )


def _session(name: str, path: Path, options: RuntimeOptions, opening: ExitStack) -> OnnxSession | IsolatedSession:
    """The opened model; a worker process that has to be started again needs its files for longer."""
    if not options.isolated:
        return OnnxSession(path, options)
    size = sum(file.stat().st_size for file in path.parent.rglob("*"))
    limits = ProcessLimits(options.memory, options.memory + LOADING_FACTOR * size if options.memory else 0)
    return IsolatedSession(name, path, options, limits, opening.pop_all())


def _ranked(ports: list[Port], unranked: set[str]) -> list[Port]:
    """ONNX Runtime shows a port without a shape as a scalar; the file tells them apart."""
    return [
        replace(port, shape=(-1,), ranked=False) if not port.shape and port.name in unranked else port for port in ports
    ]
