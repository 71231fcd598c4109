"""A version of a model in memory, ready to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from model_server import config as configuration
from model_server import external_data, layout
from model_server.binding import Signature
from model_server.onnx_session import OnnxSession, RuntimeOptions
from model_server.statistics import Statistics
from protocol.tensors import Tensor
from protos import inference as pb

FLOATS = frozenset({"FP16", "BF16", "FP32", "FP64"})


@dataclass(slots=True)
class LoadedVersion:
    """One version that serves. In-flight requests hold it, so that a swap never pulls it away under them."""

    name: str
    number: int
    session: OnnxSession
    signature: Signature
    config: pb.ModelConfig
    predictable: bool
    """No control flow and only floating-point inputs: the time of a run follows from the size of its inputs."""
    statistics: Statistics = field(default_factory=Statistics)
    inline_bytes: int = -1
    """Requests with at most this many input bytes are known to run in no time; see `execution.py`."""

    @property
    def version(self) -> str:
        return str(self.number)

    def runs_inline(self, inputs: list[Tensor]) -> bool:
        """Whether a run with these inputs is known to be so quick that it may stay on the event loop."""
        return self.inline_bytes >= 0 and sum([tensor.nbytes for tensor in inputs]) <= self.inline_bytes

    def metadata(self, versions: list[str]) -> pb.ModelMetadataResponse:
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self.name,
            versions=versions,
            platform=self.config.platform,
            inputs=[tensor(name=p.name, datatype=p.datatype.name, shape=p.shape) for p in self.session.inputs],
            outputs=[tensor(name=p.name, datatype=p.datatype.name, shape=p.shape) for p in self.session.outputs],
        )


def load(name: str, folder: Path, number: int, config: pb.ModelConfig, options: RuntimeOptions) -> LoadedVersion:
    """Open a version; ModelError says in one sentence why that was not possible. Blocks: call it in a thread."""
    path = layout.model_file(folder, number, config.default_model_filename)
    control_flow = external_data.check(path)
    session = OnnxSession(path, options)
    full = configuration.completed(config, session.inputs, session.outputs)
    signature = Signature.of(name, session.inputs, session.outputs, full.max_batch_size)
    floats = all(port.datatype.name in FLOATS for port in session.inputs)
    return LoadedVersion(name, number, session, signature, full, predictable=floats and not control_flow)
