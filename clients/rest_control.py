"""The control plane's calls as OIP REST resources: where each is, what is sent, and how the answer reads as a message."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import invalid

if TYPE_CHECKING:
    from crossover.protocol.messages import ParameterValue

_PATHS: BoundedCache[tuple[str, str], str] = BoundedCache()


@dataclass(frozen=True, slots=True)
class Resource:
    """One call; `request` below is its protobuf message."""

    path: Callable[[Any], str]
    """The resource of a request."""
    body: Callable[[Any], object] | None = None
    """The JSON document to POST; GET without one."""
    reply: Callable[[Any], object] = lambda document: document
    """The reply's JSON document in the form of the call's reply message."""
    flag: str = ""
    """The reply is its HTTP status alone, which sets this field."""


def model_path(name: str, version: str) -> str:
    """The URL path of a model or of one of its versions; INVALID_ARGUMENT for names that cannot be one."""
    path = _PATHS.get((name, version))
    if path is None:
        path = f"/v2/models/{_quoted(name)}"
        if version:
            if not (version.isascii() and version.isdigit()):
                raise invalid(f"version '{version[:40]}' of model '{name}' is not a number, 0 or more")
            path = f"{path}/versions/{version}"
        _PATHS.put((name, version), path, len(name) + len(path))
    return path


def _quoted(name: str) -> str:
    if not name:
        raise invalid("the model's name is empty")
    return quote(name, safe="")


def _of_model(below: str = "") -> Callable[[Any], str]:
    return lambda request: model_path(request.name, request.version) + below


def _statistics(request: Any) -> str:
    return f"{model_path(request.name, request.version)}/stats" if request.name else "/v2/models/stats"


def _of_repository(action: str) -> Callable[[Any], str]:
    return lambda request: f"/v2/repository/models/{_quoted(request.model_name)}/{action}"


def _parameters(request: Any) -> dict[str, Any]:
    """Files travel as base64 text."""
    parameters: dict[str, ParameterValue | bytes] = protobuf_codec.repository_parameters(request.parameters)
    return {
        "parameters": {
            key: base64.b64encode(value).decode() if isinstance(value, bytes) else value
            for key, value in parameters.items()
        }
    }


RESOURCES: dict[str, Resource] = {
    "ServerLive": Resource(lambda _: "/v2/health/live", flag="live"),
    "ServerReady": Resource(lambda _: "/v2/health/ready", flag="ready"),
    "ModelReady": Resource(_of_model("/ready"), flag="ready"),
    "ServerMetadata": Resource(lambda _: "/v2"),
    "ModelMetadata": Resource(_of_model()),
    "ModelConfig": Resource(_of_model("/config"), reply=lambda config: {"config": config}),
    "ModelStatistics": Resource(_statistics),
    "RepositoryIndex": Resource(
        lambda _: "/v2/repository/index",
        body=lambda request: {"ready": request.ready},
        reply=lambda models: {"models": models},
    ),
    "RepositoryModelLoad": Resource(_of_repository("load"), body=_parameters, reply=lambda _: {}),
    "RepositoryModelUnload": Resource(_of_repository("unload"), body=_parameters, reply=lambda _: {}),
}
"""By the name of the gRPC method."""
