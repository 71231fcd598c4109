"""The OpenAPI paths of the OIP routes, which plain ASGI serves, to stand beside those that FastAPI knows itself."""

from __future__ import annotations

from typing import Any

SAMPLE = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0, 0, 5, 8, 0,
          0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0]  # fmt: skip
DIGITS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": SAMPLE}]}
PREDICT = {"instances": [SAMPLE]}
_ERROR = {
    "description": "what was wrong, in one sentence",
    "content": {"application/json": {"example": {"error": "...", "code": "NOT_FOUND"}}},
}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": "digits"}
_VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "example": "1"}
_HEADERS = [
    {"name": "Inference-Upstream", "in": "header", "schema": {"type": "string"},
     "description": "grpc, grpc-typed, grpc-stream, rest, rest-binary or inprocess"},
    {"name": "Inference-Timeout-Ms", "in": "header", "schema": {"type": "integer", "minimum": 1},
     "description": "the time that the caller gives, in milliseconds"},
]  # fmt: skip


def _operation(
    summary: str, tag: str, parameters: list[Any], body: Any = None, required: bool = False
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": summary,
        "tags": [tag],
        "parameters": parameters,
        "responses": {"200": {"description": "done", "content": {"application/json": {}}}, "default": _ERROR},
    }
    if body is not None:
        made["requestBody"] = {"required": required, "content": {"application/json": {"example": body}}}
    return made


def _versions(path: str, method: str, summary: str, **more: Any) -> dict[str, Any]:
    """The same operation on a model and on one version of it."""
    parameters = [_MODEL, *more.pop("parameters", [])]
    return {
        f"/v2/models/{{model}}{path}": {method: _operation(summary, "inference", parameters, **more)},
        f"/v2/models/{{model}}/versions/{{version}}{path}": {
            method: _operation(f"{summary} (one version)", "inference", [*parameters, _VERSION], **more)
        },
    }


PATHS: dict[str, Any] = {
    "/v2": {"get": _operation("Name, version and extensions", "server", [])},
    "/v2/health/live": {"get": _operation("Is the process up?", "server", [])},
    "/v2/health/ready": {"get": _operation("Can it take requests?", "server", [])},
    "/v2/models": {"get": _operation("Names of the models", "server", [])},
    **_versions("", "get", "Inputs, outputs and versions"),
    **_versions("/ready", "get", "Is the model ready?"),
    **_versions("/config", "get", "The model's configuration"),
    **_versions("/stats", "get", "Counts and times of the model"),
    **_versions("/infer", "post", "Run the model", parameters=_HEADERS, body=DIGITS, required=True),
    "/v2/models/stats": {"get": _operation("Counts and times of all models", "server", [])},
    "/v2/repository/index": {
        "post": _operation("Every model version and its state", "repository", [], {"ready": False})
    },
    "/v2/repository/models/{model}/load": {"post": _operation("Load a model", "repository", [_MODEL], {})},
    "/v2/repository/models/{model}/unload": {"post": _operation("Unload a model", "repository", [_MODEL], {})},
    "/v1/models": {"get": _operation("Names of the models (KServe V1)", "v1", [])},
    "/v1/models/{model}": {"get": _operation("Is the model ready? (KServe V1)", "v1", [_MODEL])},
    "/v1/models/{model}:predict": {
        "post": _operation("Run the model (KServe V1)", "v1", [_MODEL, *_HEADERS], PREDICT, required=True)
    },
    "/metrics": {"get": _operation("Prometheus metrics", "server", [])},
}
