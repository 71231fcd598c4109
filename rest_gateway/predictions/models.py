"""`/api/models`: the models as an app developer wants them: what goes in and comes out, class names, a sample to send.

`/api/models/{name}/prediction` is the computation as a GET: its data is in the URL, so the access log, the history and
caches see it, and a copy can be reused. POST /api/predictions is the same operation with its data in the body.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from crossover.protocol.codecs.json import values as json_values
from crossover.protocol.codecs.json.text import Fragment, dumps
from crossover.protocol.codecs.sizes import TYPICAL_JSON_ELEMENT
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.names import is_clean, quoted
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline, durations, server_timing
from crossover.rest_gateway.api.problems import bad_request, not_found, of_error
from crossover.rest_gateway.api.replies import representation
from crossover.rest_gateway.predictions.callers import UPSTREAM_HEADER
from crossover.rest_gateway.predictions.documents import answer_object
from crossover.rest_gateway.predictions.in_url import tensors_in_url
from crossover.rest_gateway.prompt import promptly
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from crossover.protocol.inference import Inference
    from crossover.rest_gateway.api.catalog import Catalog
    from crossover.rest_gateway.predictions.callers import Calls
    from crossover.rest_gateway.predictions.options import PredictionOptions
    from crossover.rest_gateway.predictions.running import Runner

PATH = "/api/models"
LISTED_SECONDS = 5
"""How long a copy of a model's description may be used without asking: a repository changes under a running server."""
COMPUTED_SECONDS = 60
"""How long a copy of a computed answer may be used without asking: the same input gives the same answer until the
model changes."""
_MOST_SAMPLE_ELEMENTS = 4096
_NOT_INPUTS = ("version", "upstream")
"""Query parameters of the computation that are not inputs; a model whose input has such a name takes POST."""


class Models:
    """Handlers of /api/models."""

    def __init__(self, calls: Calls, catalog: Catalog, runner: Runner, options: PredictionOptions) -> None:
        self._calls = calls
        self._catalog = catalog
        self._runner = runner
        self._options = options
        self._vary = {"Vary": f"Accept, {UPSTREAM_HEADER}"}

    async def all(self, request: Request) -> Response:
        upstream, inference = self._calls.choose(request)
        index = await promptly(lambda context: inference.repository_index(False, context), CallContext(), upstream)
        models: dict[str, list[dict[str, Any]]] = {}
        for entry in index.models:
            version = {"version": entry.version, "state": entry.state, "reason": entry.reason or None}
            models.setdefault(entry.name, []).append(version)
        listing = [_listed(name, versions) for name, versions in sorted(models.items())]
        return await representation(request, dumps({"models": listing}), None, self._cached(LISTED_SECONDS), self._vary)

    async def one(self, request: Request) -> Response:
        name = request.path_params["name"]
        upstream, inference = self._calls.choose(request)
        metadata = await self._metadata(upstream, inference, name)
        labels, samples = self._catalog.labels(name), self._catalog.samples(name)
        document = {
            "name": metadata.name,
            "platform": metadata.platform,
            "versions": list(metadata.versions),
            "inputs": [_described(tensor) for tensor in metadata.inputs],
            "outputs": [_described(tensor) for tensor in metadata.outputs],
            "labels": labels,
            "sample": _sample(metadata, samples),
            "samples": len(samples),
            "links": {**_links(name), "samples": f"{PATH}/{quote(name, safe='')}/samples"},
        }
        return await representation(request, dumps(document), None, self._cached(LISTED_SECONDS), self._vary)

    async def samples(self, request: Request) -> Response:
        """Real inputs with their true labels, ready to be POSTed."""
        name = request.path_params["name"]
        upstream, inference = self._calls.choose(request)
        metadata = await self._metadata(upstream, inference, name)
        samples = [
            {"inputs": [tensor], "label": sample["label"]}
            for sample in self._catalog.samples(name)
            if (tensor := _sample_tensor(metadata, sample["data"])) is not None
        ]
        body = await off_loop(len(samples) * sum(map(_length, samples[:1])), dumps, {"samples": samples})
        return await representation(request, body, None, self._cached(LISTED_SECONDS), self._vary)

    async def prediction(self, request: Request) -> Response:
        """The computation: inputs as query parameters, nothing is kept; the tag is the answer's hash."""
        timeline = Timeline()
        timeline.mark("received")
        name, query = request.path_params["name"], request.query_params
        upstream, inference = self._calls.choose(request, query.get("upstream"))
        metadata = await self._metadata(upstream, inference, name, query.get("version", ""))
        try:
            tensors = tensors_in_url(metadata.inputs, query.multi_items(), _NOT_INPUTS)
            timeline.mark("decoded")
            call = InferRequest(name, tensors, query.get("version", ""))
            ran = await self._runner.run(upstream, inference, call, self._calls.context(request, timeline))
        except InferenceError as error:
            problem = of_error(error)
            raise bad_request(error.message) if problem.status == 422 else problem from None
        outcome = ran.outcome
        document = {
            "model": name,
            "version": outcome.version,
            "outputs": Fragment(outcome.outputs or "[]"),
            "answer": answer_object(outcome.answer),
        }
        headers = {**self._vary, UPSTREAM_HEADER: upstream}
        if self._options.timing:
            headers["Server-Timing"] = server_timing(durations(ran.timeline))
        return await representation(request, dumps(document), None, self._cached(COMPUTED_SECONDS), headers)

    def _cached(self, seconds: int) -> str:
        """A cache that several callers share must not hand on what only one of them may have (RFC 9111 3.5)."""
        return f"{'private' if self._options.keys else 'public'}, max-age={seconds}"

    async def _metadata(self, upstream: str, inference: Inference, name: str, version: str = "") -> Any:
        if not is_clean(name):
            raise bad_request(f"the model's name {quoted(name)} has control characters, which names must not have")
        try:
            return await promptly(
                lambda context: inference.model_metadata(name, version, context), CallContext(), upstream
            )
        except InferenceError as error:
            if error.code is Code.NOT_FOUND:
                raise not_found(error.message) from None
            raise


def _length(sample: dict[str, Any]) -> int:
    """About how much JSON a sample is."""
    return sum(TYPICAL_JSON_ELEMENT * len(tensor["data"]) for tensor in sample["inputs"])


def _listed(name: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    ready = any(version["state"] == "READY" for version in versions)
    return {"name": name, "ready": ready, "versions": versions, "links": _links(name)}


def _links(name: str) -> dict[str, str]:
    here = f"{PATH}/{quote(name, safe='')}"
    return {
        "self": here,
        "prediction": f"{here}/prediction",
        "predictions": f"/api/predictions?model={quote(name, safe='')}",
    }


def _described(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _sample(metadata: Any, samples: list[dict[str, Any]]) -> dict[str, Any] | None:
    """A body for POST /api/predictions: a real sample, or zeros of the smallest shape; None when that is too much."""
    if samples and (tensor := _sample_tensor(metadata, samples[0]["data"])) is not None:
        return {"model": metadata.name, "inputs": [tensor], "label": samples[0]["label"]}
    inputs = [_zeros(tensor) for tensor in metadata.inputs]
    if any(tensor is None for tensor in inputs):
        return None
    return {"model": metadata.name, "inputs": inputs}


def _sample_tensor(metadata: Any, data: list[Any]) -> dict[str, Any] | None:
    """A flat sample as the model's only input, when it fits."""
    if len(metadata.inputs) != 1:
        return None
    tensor = metadata.inputs[0]
    shape = [1 if dim < 0 else dim for dim in tensor.shape]
    if math.prod(shape) != len(data):
        return None
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}


def _zeros(described: Any) -> dict[str, Any] | None:
    row, shape = datatype(described.datatype), [1 if dim < 0 else dim for dim in described.shape]
    if not row.json or math.prod(shape) > _MOST_SAMPLE_ELEMENTS:
        return None
    fill: Any = np.full(shape, b"", dtype=object) if row.kind == "bytes" else np.zeros(shape, row.dtype)
    text = json_values.to_text(Tensor(described.name, row, tuple(shape), array=fill))
    return {"name": described.name, "datatype": row.name, "shape": shape, "data": Fragment(text)}
