"""Which scope a request needs: one table for HTTP, one for gRPC. A request in neither needs a key, with any scope."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import unquote

from crossover.service.doors.keys import Scope


class Access(Enum):
    """What a request needs beside a scope of its own."""

    HEALTH = "health"
    """No key and no rate: health checks must not be refused for asking too often."""
    PUBLIC = "public"
    """No key: files that are the same for everybody, and hold no data."""
    ANY_KEY = "any key"
    """A key, whatever its scopes: unknown paths, reflection."""


Need = Access | Scope

# The first line that fits, on the path without its percent-encoding: a router that decodes a path cannot be reached past
# this table by encoding it.
_HTTP: tuple[tuple[re.Pattern[str], Need], ...] = tuple(
    (re.compile(pattern), need)
    for pattern, need in (
        (r"/", Access.HEALTH),  # alive; the page
        (r"/v2/health/(live|ready)", Access.HEALTH),
        (r"/v2/models/[^/]+(/versions/[0-9]+)?/ready", Access.HEALTH),
        (r"/(page|static)/.*|/docs|/openapi\.json|/favicon\.ico", Access.PUBLIC),
        (r"/v2/models/.*/trace/setting|/v2/(trace/setting|logging)", Scope.CONTROL),
        (r"/v2/repository/(.*/)?index", Scope.INFER),
        (r"/v2/(repository|systemsharedmemory|cudasharedmemory)(/.*)?", Scope.CONTROL),
        (r"/v[12](/.*)?", Scope.INFER),
        (r"/api(/.*)?", Scope.PREDICTIONS),
        (r"/metrics", Scope.METRICS),
        (r"/reports(/.*)?", Scope.METRICS),
    )
)
_GRPC: dict[str, Need] = {
    "/grpc.health.v1.Health/Check": Access.HEALTH,
    "/grpc.health.v1.Health/Watch": Access.HEALTH,
    "/grpc.health.v1.Health/List": Scope.INFER,  # it tells every model's name
    **{
        f"/inference.GRPCInferenceService/{method}": need
        for method, need in (
            ("ServerLive", Access.HEALTH),
            ("ServerReady", Access.HEALTH),
            ("ModelReady", Access.HEALTH),
            ("ServerMetadata", Scope.INFER),
            ("ModelMetadata", Scope.INFER),
            ("ModelConfig", Scope.INFER),
            ("ModelStatistics", Scope.INFER),
            ("ModelInfer", Scope.INFER),
            ("ModelStreamInfer", Scope.INFER),
            ("RepositoryIndex", Scope.INFER),
            ("RepositoryModelLoad", Scope.CONTROL),
            ("RepositoryModelUnload", Scope.CONTROL),
            ("SystemSharedMemoryStatus", Scope.CONTROL),
            ("SystemSharedMemoryRegister", Scope.CONTROL),
            ("SystemSharedMemoryUnregister", Scope.CONTROL),
            ("CudaSharedMemoryStatus", Scope.CONTROL),
            ("CudaSharedMemoryRegister", Scope.CONTROL),
            ("CudaSharedMemoryUnregister", Scope.CONTROL),
        )
    },
}


def of_http(path: bytes) -> Need:
    """The need of a path as sent, without its query."""
    text = unquote(path.decode("latin-1"), encoding="latin-1")
    return next((need for pattern, need in _HTTP if pattern.fullmatch(text)), Access.ANY_KEY)


def of_grpc(path: str) -> Need:
    """The need of a method's full path."""
    return _GRPC.get(path, Access.ANY_KEY)
