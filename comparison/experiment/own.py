"""The subject of `run`: our own services, or OIP services that somebody else runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crossover.comparison.experiment import preparation
from crossover.comparison.services import ask
from crossover.comparison.services.views import ORACLE, Foreign, ours
from crossover.protocol.wires import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.comparison.experiment.preparation import Prepared
    from crossover.comparison.load.generator import Runner
    from crossover.comparison.network.link import Link
    from crossover.comparison.options import Options
    from crossover.comparison.services.views import OipView
    from crossover.protos import inference as pb


class OipServices:
    """A model behind the Open Inference Protocol, over its wires."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.services = "foreign" if options.foreign else "ours"
        self.model = options.model
        self._metadata: pb.ModelMetadataResponse | None = None

    def view(self, seed: int, link: Link | None) -> OipView:
        options = self.options
        if options.foreign:
            target = Target(options.grpc or Target().grpc, options.rest or Target().rest)
            return Foreign(target, self._oracle(), options.tolerance)
        return ours(options.view, options.repository, options.out / "services.log", seed, link, tls=options.tls)

    def _oracle(self) -> str:
        """The wire that is asked for right answers: an arm of the run, since a service need not offer more."""
        wires = [arm.upstream for arm in self.options.arms]
        return ORACLE if ORACLE in wires else wires[0]

    def prepare(self, view: OipView, generator: Runner, network: str, tell: Callable[[str], None]) -> Prepared:
        self._metadata = self._asked(view)
        return preparation.prepare(self.options, view, generator, self._metadata, network, tell)

    def resume(self, view: OipView, prepared: Prepared) -> None:  # noqa: ARG002 - the samples say nothing of the model
        self._metadata = self._asked(view)

    def _asked(self, view: OipView) -> pb.ModelMetadataResponse:
        wire = "grpc" if self.options.foreign and not self.options.rest else "rest"
        return ask.metadata(wire, view.target, self.options.model)

    def load(self, view: OipView, c: int, prepared: Prepared, seed: int) -> None:
        assert self._metadata is not None
        size = prepared.cells[c].payload_bytes
        view.load(c, preparation.requests_of(self.options, self._metadata, size, seed), prepared.busy_ns[c])

    def facts(self) -> dict[str, Any]:
        return {"public_encoding": "binary tensors", **asdict(self.options.wish)}

    def pairs(self) -> list[list[str]]:
        return []
