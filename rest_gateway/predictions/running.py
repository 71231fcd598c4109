"""One run of a task through an upstream, and what is kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson

from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.codecs.sizes import TYPICAL_JSON_ELEMENT
from crossover.protocol.messages import InferRequest
from crossover.protocol.recording import Recording
from crossover.protocol.timeline import Timeline, durations
from crossover.rest_gateway.api.bodies import parse
from crossover.rest_gateway.api.problems import document, of_error
from crossover.rest_gateway.api.tensors import read_tensors, write_tensors
from crossover.rest_gateway.predictions.exchange import upstream_half
from crossover.rest_gateway.predictions.record import Outcome, TopClass
from crossover.transport.off_loop import off_loop
from crossover.transport.short_turns import take_turn

if TYPE_CHECKING:
    from crossover.protocol.errors import InferenceError
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.tensors import Tensor
    from crossover.rest_gateway.api.catalog import Catalog
    from crossover.rest_gateway.predictions.record import Task

MOST_CLASSES = 100_000


class UpstreamLookup(Protocol):
    """The gateway's ways to a model."""

    def get(self, name: str | None) -> tuple[str, Inference]:
        """The upstream of that name, or the default one; INVALID_ARGUMENT that lists the names."""
        ...


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that the model answered."""

    outcome: Outcome
    exchange: str
    """The upstream half of the exchange as JSON text."""
    timeline: Timeline


class Runner:
    """Runs requests and turns their answers into outcomes."""

    def __init__(self, upstreams: UpstreamLookup, catalog: Catalog) -> None:
        self.upstreams = upstreams
        self._catalog = catalog

    async def run(self, upstream: str, inference: Inference, request: InferRequest, context: CallContext) -> Ran:
        """The outcome of one call; InferenceError when it fails.

        The context's timeline begins with `received` and `decoded`; without one, these are now.
        """
        timeline = context.timeline = context.timeline or _begun()
        context.recording = Recording()
        response = await inference.infer(request, context)
        await take_turn()
        size = TYPICAL_JSON_ELEMENT * sum(tensor.count for tensor in response.outputs)
        outputs = await off_loop(size, _written, response.outputs)
        timeline.mark("encoded")
        outcome = Outcome(
            version=response.model_version,
            outputs=outputs,
            answer=answer_of(response.outputs, self._catalog.labels(request.model_name)),
            timings=_timings(timeline),
            message_bytes={"request": context.bytes_sent, "response": context.bytes_received},
        )
        passed = context.bytes_sent + context.bytes_received
        return Ran(outcome, await off_loop(passed, upstream_half, upstream, context), timeline)


def _written(tensors: list[Tensor]) -> str:
    return write_tensors(tensors).decode()


def failure(error: InferenceError) -> Outcome:
    """The outcome of a run that failed for good."""
    return Outcome(error=dumps(document(of_error(error))).decode())


def answer_of(outputs: list[Tensor], labels: list[str]) -> TopClass | None:
    """The best class when the first output is one row of at least two floating-point scores."""
    if not outputs:
        return None
    first = outputs[0]
    row = first.shape[-1] if first.shape else 0
    if first.datatype.kind != "float" or not 2 <= row <= MOST_CLASSES or math.prod(first.shape) != row:
        return None
    scores = first.array.reshape(-1)
    index = int(scores.argmax())
    score = float(str(scores[index]))  # the shortest digits of its own precision, as the output's JSON shows them
    return None if math.isnan(score) else TopClass(index, labels[index] if index < len(labels) else str(index), score)


def _begun() -> Timeline:
    timeline = Timeline()
    timeline.mark("received")
    timeline.mark("decoded")
    return timeline


def _timings(timeline: Timeline) -> dict[str, float]:
    parts = {name: round(spent, 4) for name, spent in durations(timeline).items()}
    return {**parts, "total": round(timeline.between("received", "encoded") / 1e6, 4)}


def task_request(task: Task) -> InferRequest:
    """The infer request that a stored task means."""
    tensors = read_tensors(parse(task.inputs.encode()))
    return InferRequest(task.model, tensors, task.version, parameters=orjson.loads(task.parameters))
