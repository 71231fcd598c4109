"""What serves under a model's name and version, an ONNX model or an ensemble: how requests are checked and counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossover.model_server import classification
from crossover.model_server.binding import Signature
from crossover.model_server.classification import Labels
from crossover.model_server.ports import Agreed
from crossover.model_server.statistics import Statistics
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb


@dataclass(slots=True, eq=False)
class ServedVersion:
    """One version that serves. In-flight requests hold it, so that a swap never pulls it away under them."""

    name: str
    number: int
    signature: Signature
    config: pb.ModelConfig
    agreed: Agreed
    statistics: Statistics = field(default_factory=Statistics, kw_only=True)
    pending: int = field(default=0, kw_only=True)
    """Requests that wait for a worker or run on one."""
    labels: Labels = field(default_factory=dict, kw_only=True)
    """Of the classification extension, by output."""
    version: str = field(init=False)
    caches: bool = field(init=False)
    """Whether answers are kept for equal requests (`response_cache` in config.pbtxt)."""

    def __post_init__(self) -> None:
        self.version = str(self.number)
        self.caches = self.config.response_cache.enable

    def runs_inline(self, _inputs: list[Tensor]) -> bool:
        """Whether a run with these inputs is known to be so quick that it may stay on the event loop."""
        return False

    def rows(self, inputs: list[Tensor]) -> int:
        """What the statistics count as inferences: rows when there is a batch dimension, else one."""
        return inputs[0].shape[0] if self.signature.max_batch_size and inputs else 1

    def shown(self, request: InferRequest, tensors: list[Tensor]) -> list[Tensor]:
        """The requested outputs in the form that the request asks for."""
        if not request.outputs:
            return tensors
        return classification.applied(request.outputs, tensors, self.labels, self.signature.max_batch_size > 0)

    def metadata(self, versions: list[str]) -> pb.ModelMetadataResponse:
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=self.name,
            versions=versions,
            platform=self.config.platform,
            inputs=[tensor(name=p.name, datatype=p.datatype.name, shape=p.shape) for p in self.agreed.inputs],
            outputs=[tensor(name=p.name, datatype=p.datatype.name, shape=p.shape) for p in self.agreed.outputs],
        )
