"""The table of routes under /api: paths, methods, and what the reference (OpenAPI) says of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossover.rest_gateway.api import routing
from crossover.rest_gateway.api.negotiation import JSON, MERGE_PATCH
from crossover.rest_gateway.predictions import documents as docs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import APIRouter
    from pydantic import BaseModel

    from crossover.rest_gateway.predictions.changing import Changing
    from crossover.rest_gateway.predictions.creating import Creating
    from crossover.rest_gateway.predictions.models import Models
    from crossover.rest_gateway.predictions.reading import Reading

    Handler = Callable[[Request], Awaitable[Response]]

_WHY = {
    400: "Broken JSON, or a header or query parameter that cannot be read",
    404: "No such prediction or model",
    406: "Accept excludes JSON",
    409: "The first request with this Idempotency-Key still runs",
    412: "If-Match does not name the current ETag",
    413: "The body is over MAX_MESSAGE_BYTES",
    415: "The body is not JSON",
    422: "The body is JSON, but the model cannot take it; or the Idempotency-Key had another body",
    428: "If-Match is missing",
    429: "The model's queue is full",
    503: "The model server or the store is away; Retry-After says when to ask again",
    504: "The deadline passed",
}
_RUNS = (400, 404, 406, 413, 415, 422, 429, 503, 504)


@dataclass(frozen=True, slots=True)
class RouteOperation:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, tuple[str, type[BaseModel] | None]]
    problems: tuple[int, ...] = (406,)
    body: tuple[type[BaseModel], ...] = ()
    body_type: str = JSON
    parameters: tuple[dict[str, Any], ...] = field(default=())


def build(reading: Reading, creating: Creating, changing: Changing, models: Models) -> APIRouter:
    """The router of predictions and models."""
    routes = routing.router()
    for operation in _operations(reading, creating, changing, models):
        _add(routes, operation)
    takes = {"Accept-Post": JSON}
    routing.add_options(routes, "/predictions", takes)
    routing.add_options(routes, "/predictions/{prediction_id}", {"Accept-Patch": f"{MERGE_PATCH}, {JSON}"})
    for path in ("/predictions/latest", "/predictions/{prediction_id}/exchange", "/predictions/{prediction_id}/history",
                 "/prediction-summary", "/models",
                 "/models/{name}", "/models/{name}/samples", "/models/{name}/prediction"):  # fmt: skip
        routing.add_options(routes, path)
    routing.add_slash_redirect(routes, "/predictions")
    routing.add_slash_redirect(routes, "/models")
    return routes


def _operations(reading: Reading, creating: Creating, changing: Changing, models: Models) -> list[RouteOperation]:
    path = "/predictions/{prediction_id}"
    prediction = ("The prediction", docs.PredictionDocument)
    unchanged = ("The caller's copy is still good", None)
    accepted = ("Accepted; the prediction's state tells how far it is", docs.PredictionDocument)
    filters = tuple(_query(name, about) for name, about in _FILTERS.items())
    paging = (_query("limit", "How many, 1 to 500", "integer"), _query("cursor", "From a Link header"))
    return [
        RouteOperation("POST", "/predictions", creating.create, "Run a model and keep the prediction",
                  {201: ("Run and kept", docs.PredictionDocument), 202: accepted}, (*_RUNS, 409),
                  (docs.NewPrediction, docs.NewPredictions), parameters=_CREATE_HEADERS),
        RouteOperation("GET", "/predictions", reading.page, "List predictions, newest first",
                  {200: ("A page", docs.PredictionPage), 304: unchanged}, (400, 406), parameters=(*filters, *paging)),
        RouteOperation("GET", "/predictions/latest", reading.latest, "Go to the newest prediction",
                  {307: ("Its URI is in Location", None)}, (400, 404, 406), parameters=filters),
        RouteOperation("GET", path, reading.one, "Read a prediction", {200: prediction, 304: unchanged}, (404, 406, 412),
                  parameters=(_IF_NONE_MATCH,)),
        RouteOperation("PUT", path, changing.put, "Replace the input and run again", {200: prediction, 202: accepted},
                  (*_RUNS, 412, 428), (docs.NewPrediction,), parameters=(_IF_MATCH, *_CALL_HEADERS)),
        RouteOperation("PATCH", path, changing.patch, "Change label and note (JSON Merge Patch)", {200: prediction},
                  (400, 404, 406, 412, 413, 415, 422, 428), (docs.PredictionPatch,), MERGE_PATCH, (_IF_MATCH,)),
        RouteOperation("DELETE", path, changing.delete, "Delete a prediction", {204: ("Gone", None)}, (404, 406, 412)),
        RouteOperation("GET", f"{path}/exchange", reading.exchange, "See what was said on both hops",
                  {200: ("Both halves", docs.ExchangeDocument), 304: unchanged}, (404, 406)),
        RouteOperation("GET", f"{path}/history", reading.history, "See how a prediction came to be what it is, newest first",
                  {200: ("Its revisions", docs.HistoryDocument), 304: unchanged}, (404, 406), parameters=(_IF_NONE_MATCH,)),
        RouteOperation("GET", "/prediction-summary", reading.summary, "Counts, and accuracy where labels are known",
                  {200: ("The summary", docs.Summary), 304: unchanged}, (400, 406), parameters=filters),
        RouteOperation("GET", "/models", models.all, "List models", {200: ("The models", docs.ModelList), 304: unchanged},
                  (406, 503)),
        RouteOperation("GET", "/models/{name}", models.one, "Read a model's inputs, outputs, labels and a sample",
                  {200: ("The model", docs.ModelDocument), 304: unchanged}, (404, 406, 503)),
        RouteOperation("GET", "/models/{name}/samples", models.samples, "Real inputs with their true labels",
                  {200: ("The samples", docs.SampleList), 304: unchanged}, (404, 406, 503)),
        RouteOperation("GET", "/models/{name}/prediction", models.prediction,
                  "Run a model on inputs in the URL (a query parameter each, elements with commas); nothing is kept",
                  {200: ("The answer", docs.ComputedDocument), 304: unchanged}, (400, 404, 406, 429, 503, 504),
                  parameters=(_IF_NONE_MATCH, _query("version", "Its version"), _query("upstream", "The upstream"))),
    ]  # fmt: skip


def _header(name: str, about: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}


def _query(name: str, about: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": about, "schema": {"type": kind}}


_FILTERS = {
    "model": "Only this model",
    "label": "Only this label, compared as text",
    "state": "queued, running, succeeded or failed",
    "upstream": "Only through this upstream",
    "since": "Created at or after this time (RFC 3339)",
    "until": "Created before this time (RFC 3339)",
}
_IF_MATCH = {**_header("If-Match", "The ETag of the representation to change, or *"), "required": True}
_IF_NONE_MATCH = _header("If-None-Match", "The ETag of the copy that the caller has")
_CALL_HEADERS = (
    _header("Prefer", "respond-async: answer 202 at once; with wait=N, only when it takes longer than N seconds"),
    _header("Inference-Upstream", "The upstream, when the body names none"),
    _header("Inference-Timeout-Ms", "The most time that the model may take, in milliseconds"),
)
_CREATE_HEADERS = (_header("Idempotency-Key", "The same key and body make one prediction only"), *_CALL_HEADERS)


def _add(routes: APIRouter, operation: RouteOperation) -> None:
    handler = operation.handler

    async def endpoint(request: Request) -> Response:
        return await handler(request)

    name = f"{operation.method.lower()}{operation.path.replace('/', '_').replace('{', '').replace('}', '')}"
    routes.add_api_route(
        operation.path,
        endpoint,
        methods=[operation.method],
        name=name,
        operation_id=name,
        summary=operation.summary,
        tags=["models" if operation.path.startswith("/models") else "predictions"],
        status_code=min(operation.answers),
        response_model=None,
        response_class=JSONResponse,
        responses=_responses(operation),
        openapi_extra=_extra(operation),
    )
    if operation.method == "GET":
        routes.add_api_route(operation.path, endpoint, methods=["HEAD"], include_in_schema=False)


def _responses(operation: RouteOperation) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {}
    for status, (about, model) in operation.answers.items():
        responses[status] = {"description": about, **({"model": model} if model else {})}
    for status in sorted(operation.problems):
        schema = {"$ref": "#/components/schemas/ProblemDocument"}
        responses[status] = {"description": _WHY[status], "content": {"application/problem+json": {"schema": schema}}}
    return responses


def _extra(operation: RouteOperation) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    path_names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    in_path = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in path_names]
    if in_path or operation.parameters:
        extra["parameters"] = [*in_path, *operation.parameters]
    if operation.body:
        options = [_schema(model) for model in operation.body]
        schema = options[0] if len(options) == 1 else {"oneOf": options}
        example = docs.EXAMPLES[operation.body[0]]
        content = {operation.body_type: {"schema": schema, "example": example}}
        extra["requestBody"] = {"required": True, "content": content}
    return extra


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """A body's schema in full: FastAPI, which does not read the body, knows no name for it."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    if model is docs.NewPredictions:
        schema["properties"]["requests"]["items"] = _schema(docs.NewPrediction)
    if model is docs.NewPrediction:
        schema["properties"]["inputs"]["items"] = {"$ref": "#/components/schemas/TensorDocument"}
    return schema
