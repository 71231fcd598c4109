"""The JSON of predictions: models for the reference (OpenAPI) and for the small members of bodies, and the writer.

Tensors are never walked by pydantic: they come in as one decoded value and go out as the text that was stored.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from crossover.protocol.codecs.json.text import Fragment, dumps
from crossover.rest_gateway.predictions.record import Prediction, State, TopClass, to_text
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crossover.rest_gateway.predictions.record import Revision

PATH = "/api/predictions"
_NUMBERS_EXAMPLE = [0, 0, 5, 13, 9, 1, 0, 0]
MOST_LABEL_CHARS = 200
MOST_NOTE_CHARS = 10_000


class TensorDocument(BaseModel):
    """An Open Inference Protocol tensor. Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity"."""

    name: str
    datatype: str = Field(examples=["FP32"])
    shape: list[int] = Field(examples=[[1, 8]])
    data: Any = Field(description="The elements, flat or nested as the shape says.", examples=[_NUMBERS_EXAMPLE])


class NewPrediction(BaseModel):
    """What POST and PUT take."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(min_length=1, examples=["digits"])
    version: str | None = Field(None, description="The model's version; without it the highest that is ready.")
    inputs: Any = Field(
        description="Open Inference Protocol tensors.", json_schema_extra={"type": "array", "minItems": 1}
    )
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    upstream: str | None = Field(None, description="The way to the model; else the header's, else the setting's.")
    label: StrictStr | StrictInt | None = Field(None, description="The true class, returned as it was sent.")
    note: str | None = Field(None, max_length=MOST_NOTE_CHARS)


class NewPredictions(BaseModel):
    """Several at once; they run side by side."""

    model_config = ConfigDict(extra="forbid")

    requests: list[NewPrediction] = Field(min_length=1, max_length=100)


class PredictionPatch(BaseModel):
    """A JSON Merge Patch (RFC 7396); null removes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: StrictStr | StrictInt | None = None
    note: str | None = Field(None, max_length=MOST_NOTE_CHARS)


class AnswerDocument(BaseModel):
    """The best class of the first output, when that is one row of scores."""

    index: int
    label: str
    score: float | str


class ProblemDocument(BaseModel):
    """Problem details (RFC 9457) with our error code and gRPC's status name."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    grpc_status: str
    instance: str | None = None
    pointer: str | None = None


class PredictionDocument(BaseModel):
    """One prediction."""

    id: str
    model: str
    version: str | None = Field(description="The version that ran; before that, the one asked for.")
    inputs: list[TensorDocument] | None = Field(description="Null in lists when it is large.")
    outputs: list[TensorDocument] | None
    state: State
    upstream: str
    label: str | int | None
    note: str | None
    answer: AnswerDocument | None
    error: ProblemDocument | None
    timings: dict[str, float] | None = Field(description="Milliseconds by station, and their whole as `total`.")
    message_bytes: dict[str, int] | None = Field(description="Encoded size of the upstream's request and response.")
    created_at: str
    updated_at: str
    links: dict[str, str]


class PredictionPage(BaseModel):
    """A page of predictions, newest first."""

    predictions: list[PredictionDocument]
    next: str | None = Field(description="Where the next page is; also in the Link header.")


class PredictionsMade(BaseModel):
    """What several at once made."""

    predictions: list[PredictionDocument]
    elapsed_ms: float = Field(description="Wall-clock time of running all of them side by side.")
    sum_ms: float = Field(description="The sum of what each took: the time one after the other.")


class Accuracy(BaseModel):
    """How answers compare with labels; `accuracy` is null without a labelled prediction that has an answer."""

    total: int
    labelled: int
    correct: int
    accuracy: float | None


class ModelAccuracy(Accuracy):
    model: str


class Summary(Accuracy):
    """Counts over the predictions that a query selects."""

    states: dict[State, int]
    upstreams: dict[str, int]
    models: list[ModelAccuracy]


class ExchangeDocument(BaseModel):
    """Both hops of a prediction: the caller's HTTP exchange and the gateway's own call to the model server."""

    prediction: str
    http: dict[str, Any] | None
    upstream: dict[str, Any] | None


class RevisionDocument(BaseModel):
    """What a prediction was between two changes."""

    revision: int
    event: str | None = Field(
        description="How it came about: created, edited (PATCH), replaced (PUT), started, finished, postponed or released "
        "(a worker's doing); null where that is forgotten."
    )
    at: str
    state: State
    upstream: str
    version: str | None
    label: str | int | None
    note: str | None = Field(description=f"Its first {MOST_NOTE_CHARS // 50} characters.")
    answer: str | None
    changed: list[str] = Field(description="The members above that the revision before had otherwise.")


class HistoryDocument(BaseModel):
    """The revisions of a prediction, the current one first; at most 50 earlier ones are kept."""

    prediction: str
    revisions: list[RevisionDocument]


class VersionDocument(BaseModel):
    """One version of a model as the repository lists it."""

    version: str
    state: str
    reason: str | None


class ListedModel(BaseModel):
    """A model in the list."""

    name: str
    ready: bool
    versions: list[VersionDocument]
    links: dict[str, str]


class ModelList(BaseModel):
    """Every model that the repository knows."""

    models: list[ListedModel]


class DescribedTensor(BaseModel):
    """An input or output of a model; -1 in the shape varies."""

    name: str
    datatype: str
    shape: list[int]


class SampleDocument(BaseModel):
    """A real input with its true label."""

    inputs: list[TensorDocument]
    label: str | int | None = None
    model: str | None = None


class SampleList(BaseModel):
    """The samples of a model."""

    samples: list[SampleDocument]


class ModelDocument(BaseModel):
    """A model as an app developer wants it."""

    name: str
    platform: str
    versions: list[str]
    inputs: list[DescribedTensor]
    outputs: list[DescribedTensor]
    labels: list[str] = Field(description="Class names by index.")
    sample: SampleDocument | None = Field(description="A body for POST /api/predictions.")
    samples: int = Field(description="How many real samples there are.")
    links: dict[str, str]


class ComputedDocument(BaseModel):
    """An answer that is not kept."""

    model: str
    version: str
    outputs: list[TensorDocument]
    answer: AnswerDocument | None


DIGIT_SEVEN = [
    0, 0, 3, 10, 16, 16, 4, 0, 0, 0, 0, 0, 1, 14, 7, 0, 0, 0, 0, 0, 2, 15, 4, 0, 0, 0, 4, 4, 12, 15, 5, 0,
    0, 1, 15, 16, 16, 9, 4, 0, 0, 0, 2, 11, 13, 0, 0, 0, 0, 0, 1, 16, 5, 0, 0, 0, 0, 0, 3, 12, 0, 0, 0, 0,
]  # fmt: skip
"""A real sample of the digits model, written with a stroke."""
EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    NewPrediction: {
        "model": "digits",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": DIGIT_SEVEN}],
        "label": 7,
    },
    PredictionPatch: {"label": 7, "note": "written with a stroke"},
}
"""Bodies that the reference page sends as they are."""


def as_object(prediction: Prediction) -> dict[str, Any]:
    """The members of a prediction's representation; stored JSON text goes in unread."""
    outcome, task = prediction.outcome, prediction.task
    here = f"{PATH}/{prediction.id}"
    answer = outcome.answer if outcome else None
    return {
        "id": prediction.id,
        "model": task.model,
        "version": (outcome and outcome.version) or task.version or None,
        "inputs": _stored(task.inputs),
        "outputs": _stored(outcome.outputs if outcome else None),
        "state": prediction.state,
        "upstream": task.upstream,
        "label": prediction.label,
        "note": prediction.note,
        "answer": answer_object(answer),
        "error": _stored(outcome.error if outcome else None),
        "timings": outcome and outcome.timings,
        "message_bytes": outcome and outcome.message_bytes,
        "created_at": to_text(prediction.created_at),
        "updated_at": to_text(prediction.updated_at),
        "links": {"self": here, "exchange": f"{here}/exchange", "history": f"{here}/history"},
    }


def answer_object(answer: TopClass | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    return {"index": answer.index, "label": answer.label, "score": _number(answer.score)}


async def one(prediction: Prediction) -> bytes:
    return await off_loop(_length(prediction), lambda: dumps(as_object(prediction)))


async def page(predictions: Sequence[Prediction], following: str | None) -> bytes:
    return await _listed(predictions, {"next": following})


_LENGTH_OF_REVISION = 1 << 9
_COMPARED = ("state", "upstream", "version", "label", "note", "answer")


async def history(prediction: Prediction, revisions: Sequence[Revision]) -> bytes:
    """`/api/predictions/{id}/history` of revisions, the newest first."""

    def written() -> bytes:
        return dumps({"prediction": prediction.id, "revisions": _told(revisions)})

    return await off_loop(_LENGTH_OF_REVISION * len(revisions), written)


def _told(revisions: Sequence[Revision]) -> list[dict[str, Any]]:
    return [
        {
            "revision": each.number,
            "event": each.event,
            "at": to_text(each.at),
            **{name: getattr(each, name) for name in _COMPARED},
            "changed": [name for name in _COMPARED if before and getattr(each, name) != getattr(before, name)],
        }
        for each, before in zip_longest(revisions, revisions[1:])
    ]


async def several(predictions: Sequence[Prediction], beside: dict[str, float]) -> bytes:
    return await _listed(predictions, beside)


async def _listed(predictions: Sequence[Prediction], beside: Mapping[str, object]) -> bytes:
    def written() -> bytes:
        return dumps({"predictions": [as_object(item) for item in predictions], **beside})

    return await off_loop(sum(map(_length, predictions)), written)


_LENGTH_WITHOUT_TENSORS = 1 << 10


def _length(prediction: Prediction) -> int:
    """About how many characters of JSON a prediction is."""
    outputs = prediction.outcome.outputs if prediction.outcome else None
    return _LENGTH_WITHOUT_TENSORS + len(prediction.task.inputs) + len(outputs or "")


def _stored(text: str | None) -> Any:
    return Fragment(text) if text else None


def _number(value: float) -> float | str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
