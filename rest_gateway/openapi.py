"""OpenAPI of the OIP routes, which plain ASGI serves, to stand beside the paths that FastAPI knows itself.

Schemas of the control plane are made from the protobuf descriptors that also make its JSON, so they can't disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code
from crossover.protocol.wires import WIRES
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

    from crossover.rest_gateway.settings import GatewaySettings

Json = dict[str, Any]

SAMPLE = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0, 0, 3, 15, 2, 0, 11, 8, 0, 0, 4, 12, 0, 0, 8, 8, 0, 0, 5, 8, 0,
          0, 9, 8, 0, 0, 4, 11, 0, 1, 12, 7, 0, 0, 2, 14, 5, 10, 12, 0, 0, 0, 0, 6, 13, 10, 0, 0, 0]  # fmt: skip
_INFER_EXAMPLE = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": SAMPLE}]}
_MESSAGES: dict[str, Any] = {
    "ServerMetadata": pb.ServerMetadataResponse,
    "ModelMetadata": pb.ModelMetadataResponse,
    "ModelConfig": pb.ModelConfig,
    "ModelStatistics": pb.ModelStatisticsResponse,
    "ModelIndexLine": pb.RepositoryIndexResponse.ModelIndex,
}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT, _YES_NO = {"type": "string"}, {"type": "boolean"}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_DATATYPE = {"type": "string", "enum": list(DATATYPES)}
_DATA = {"type": "array", "items": {}, "description": "row-major elements, flat or nested; NaN is null"}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_NAMES = _object({"models": {"type": "array", "items": _TEXT}}, "models")
_SCHEMAS: Json = {
    "OipError": _object({"error": _TEXT, "code": {"type": "string", "enum": [code.name for code in Code]}}, "error"),
    "OipTensor": _object(
        {"name": _TEXT, "datatype": _DATATYPE, "shape": _SHAPE, "parameters": _PARAMETERS, "data": _DATA},
        "name", "datatype", "shape",
    ),
    "InferRequest": _object(
        {
            "id": _TEXT,
            "parameters": {**_PARAMETERS, "description": "`timeout`: the time that the caller gives, in microseconds"},
            "inputs": {"type": "array", "items": _ref("OipTensor")},
            "outputs": {"type": "array", "items": _object({"name": _TEXT, "parameters": _PARAMETERS}, "name")},
        },
        "inputs",
    ),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "outputs": {"type": "array", "items": _ref("OipTensor")},
        },
        "model_name", "model_version", "outputs",
    ),
    "ModelNames": _NAMES,
    "ModelIndex": {"type": "array", "items": _ref("ModelIndexLine")},
    "ServerLive": _object({"live": _YES_NO}, "live"),
    "ServerReady": _object({"ready": _YES_NO}, "ready"),
    "ModelReady": _object({"name": _TEXT, "ready": _YES_NO}, "name", "ready"),
    "IndexRequest": _object({"ready": {**_YES_NO, "description": "only those that are READY"}}),
    "RepositoryRequest": _object({"parameters": _PARAMETERS}),
    "PredictRequest": _object(
        {"instances": {"type": "array", "items": {}, "description": "rows"}, "inputs": {"description": "columns"}}
    ),
    "PredictResponse": _object({"predictions": {"type": "array", "items": {}}, "outputs": {}}),
    "Alive": _object({"status": _TEXT}, "status"),
}  # fmt: skip

_MODEL: Json = {"name": "model", "in": "path", "required": True, "schema": _TEXT, "example": "digits"}
_VERSION: Json = {"name": "version", "in": "path", "required": True, "schema": _TEXT, "example": "1"}
_TIMEOUT: Json = {
    "name": "Inference-Timeout-Ms",
    "in": "header",
    "schema": {"type": "integer", "minimum": 1},
    "description": "the time that the caller gives, in milliseconds; 504 when it is over",
}
_UPSTREAM: Json = {
    "name": "Inference-Upstream",
    "in": "header",
    "schema": {"type": "string", "enum": list(WIRES)},
    "description": "how the gateway is to reach the model: "
    + "; ".join(f"{w.name}: {w.summary}" for w in WIRES.values()),
}
_HEADER_LENGTH: Json = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "with a binary body: bytes of JSON before the tensors' raw bytes",
}
_INFER_ERRORS = (400, 404, 413, 415, 429, 503, 504)
_MODEL_ERRORS = (404, 503, 504)
_SERVER_ERRORS = (503, 504)

# path, method, summary, tag, schema of the reply, errors, schema and example of the body
_OPERATIONS: tuple[tuple[str, str, str, str, str, tuple[int, ...], tuple[str, Any] | None], ...] = (
    ("/", "get", "Is the gateway there? Browsers get the page", "server", "Alive", (), None),
    ("/metrics", "get", "Prometheus metrics", "server", "text/plain", (), None),
    ("/v2", "get", "Name, version and extensions", "server", "ServerMetadata", _SERVER_ERRORS, None),
    ("/v2/health/live", "get", "Is the process up?", "server", "ServerLive", (), None),
    ("/v2/health/ready", "get", "Is the upstream ready?", "server", "ServerReady", _SERVER_ERRORS, None),
    ("/v2/models", "get", "Names of the models", "models", "ModelNames", _SERVER_ERRORS, None),
    ("/v2/models/stats", "get", "Counts and times of all models", "models", "ModelStatistics", _SERVER_ERRORS, None),
    ("/v2/models/{model}{v}", "get", "Inputs, outputs and versions", "models", "ModelMetadata", _MODEL_ERRORS, None),
    ("/v2/models/{model}{v}/ready", "get", "Is the model ready?", "models", "ModelReady", _MODEL_ERRORS, None),
    ("/v2/models/{model}{v}/config", "get", "The model's configuration", "models", "ModelConfig", _MODEL_ERRORS, None),
    ("/v2/models/{model}{v}/stats", "get", "Counts and times", "models", "ModelStatistics", _MODEL_ERRORS, None),
    ("/v2/models/{model}{v}/infer", "post", "Run the model", "inference", "InferResponse", _INFER_ERRORS,
     ("InferRequest", _INFER_EXAMPLE)),
    ("/v2/repository/index", "post", "Every model version and its state", "repository", "ModelIndex", (400, *_SERVER_ERRORS),
     ("IndexRequest", {"ready": False})),
    ("/v2/repository/models/{model}/load", "post", "Load a model", "repository", "", (400, 403, 404, 503, 504),
     ("RepositoryRequest", {})),
    ("/v2/repository/models/{model}/unload", "post", "Unload a model", "repository", "", (400, 403, 404, 503, 504),
     ("RepositoryRequest", {})),
    ("/v1/models", "get", "Names of the models", "KServe V1", "ModelNames", _SERVER_ERRORS, None),
    ("/v1/models/{model}", "get", "Is the model ready?", "KServe V1", "ModelReady", _MODEL_ERRORS, None),
    ("/v1/models/{model}:predict", "post", "Run the model", "KServe V1", "PredictResponse", _INFER_ERRORS,
     ("PredictRequest", {"instances": [SAMPLE]})),
)  # fmt: skip


_TAGS = {
    "predictions": "Stored predictions as REST resources",
    "models": "What models there are, and what they take and give",
    "inference": "The Open Inference Protocol",
    "KServe V1": "For clients that default to it",
    "repository": "Which models are loaded",
    "server": "Health and metrics",
}
"""Groups of operations in the order in which the reference shows them: what an app needs comes first."""


def add_oip(schema: Json, settings: GatewaySettings) -> None:
    """Add the paths and schemas of OIP, as these settings make them, to an OpenAPI document."""
    schema["paths"] = {**schema.get("paths", {}), **_paths(settings)}
    schema["tags"] = [{"name": name, "description": text} for name, text in _TAGS.items()]
    components = schema.setdefault("components", {})
    schemas = {name: _message(message.DESCRIPTOR) for name, message in _MESSAGES.items()}
    components["schemas"] = {**_SCHEMAS, **schemas, **components.get("schemas", {})}
    if settings.api_keys_file is not None:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]


def _paths(settings: GatewaySettings) -> Json:
    paths: Json = {}
    for template, method, summary, tag, reply, errors, body in _OPERATIONS:
        for path, note in _with_versions(template):
            operation = _operation(path, summary + note, tag, reply, errors, body)
            if settings.gateway_upstream_header and path.startswith("/v"):
                operation["parameters"].append(_UPSTREAM)
            operation["operationId"] = f"{method} {path}".replace("/", "_").strip("_")
            paths.setdefault(path, {})[method] = operation
    return paths


def _with_versions(template: str) -> Iterator[tuple[str, str]]:
    yield template.replace("{v}", ""), ""
    if "{v}" in template:
        yield template.replace("{v}", "/versions/{version}"), " (one version)"


def _operation(
    path: str, summary: str, tag: str, reply: str, errors: tuple[int, ...], body: tuple[str, Any] | None
) -> Json:
    parameters = [each for each in (_MODEL, _VERSION) if f"{{{each['name']}}}" in path]
    if path.startswith("/v"):
        parameters.append(_TIMEOUT)
    operation: Json = {
        "summary": summary,
        "tags": [tag],
        "parameters": parameters,
        "responses": _responses(reply, errors),
    }
    if body is not None:
        name, example = body
        content = {"application/json": {"schema": _ref(name), "example": example}}
        if name == "InferRequest":
            parameters.append(_HEADER_LENGTH)
            content["application/octet-stream"] = _binary(
                "JSON, then the inputs' raw bytes (OIP binary tensor extension)"
            )
        operation["requestBody"] = {"required": name in ("InferRequest", "PredictRequest"), "content": content}
    return operation


def _responses(reply: str, errors: tuple[int, ...]) -> Json:
    success: Json = {"description": "done"}
    if "/" in reply:
        success["content"] = {reply: {"schema": _TEXT}}
    elif reply:
        success["content"] = {"application/json": {"schema": _ref(reply)}}
    if reply == "InferResponse":
        success["content"]["application/octet-stream"] = _binary("when the request asks for `binary_data`")
    if reply == "Alive":
        success["content"]["text/html"] = {"schema": _TEXT}
    error = {"content": {"application/json": {"schema": _ref("OipError")}}}
    return {
        "200": success,
        **{str(status): {"description": _MEANING[status], **error} for status in errors},
        "default": {"description": "what was wrong, in one sentence", **error},
    }


_MEANING = {
    400: "the request is malformed or does not fit the model",
    403: "not allowed here",
    404: "no such model or version",
    413: "over MAX_MESSAGE_BYTES",
    415: "a content coding that is not read here",
    429: "too many requests are waiting; try again after Retry-After",
    503: "the model server or the model is not there now; try again after Retry-After",
    504: "the time that was given is over",
}


def _binary(description: str) -> Json:
    return {"schema": {"type": "string", "format": "binary", "description": description}}


_TYPES: dict[int, Json] = {
    FieldDescriptor.CPPTYPE_BOOL: _YES_NO,
    FieldDescriptor.CPPTYPE_STRING: _TEXT,
    FieldDescriptor.CPPTYPE_ENUM: _TEXT,
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
}


def _message(descriptor: Descriptor) -> Json:
    """The JSON schema of a protobuf message in the form of `protocol.proto_json`."""
    return {"type": "object", "properties": {field.name: _field(field) for field in descriptor.fields}}


def _field(field: FieldDescriptor) -> Json:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _single(message.fields_by_name["value"])}
    return {"type": "array", "items": _single(field)} if field.is_repeated else _single(field)


def _single(field: FieldDescriptor) -> Json:
    if field.message_type is not None:
        return _message(field.message_type)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    return _TYPES.get(field.cpp_type, {"type": "integer"})
