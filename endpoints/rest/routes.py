"""The paths of OIP REST (Triton's dialect) and KServe V1, as a table.

Paths are matched on the raw, still quoted path and unquoted segment by segment, so a model whose name holds ``%2F`` or
a colon is reached too. A model called ``stats`` is shadowed by the statistics of all models, as in Triton.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.errors import Code, InferenceError

# Path template -> (method, route). {m} is a model, {v} digits, {r} a repository or region.
_TABLE: tuple[tuple[str, str, str], ...] = (
    ("/", "GET", "alive"),
    ("/metrics", "GET", "metrics"),
    ("/v2", "GET", "server_metadata"),
    ("/v2/", "GET", "server_metadata"),
    ("/v2/health/live", "GET", "live"),
    ("/v2/health/ready", "GET", "ready"),
    ("/v2/models", "GET", "models"),
    ("/v2/models/stats", "GET", "statistics"),
    ("/v2/models/{m}", "GET", "model_metadata"),
    ("/v2/models/{m}/versions/{v}", "GET", "model_metadata"),
    ("/v2/models/{m}/ready", "GET", "model_ready"),
    ("/v2/models/{m}/versions/{v}/ready", "GET", "model_ready"),
    ("/v2/models/{m}/config", "GET", "config"),
    ("/v2/models/{m}/versions/{v}/config", "GET", "config"),
    ("/v2/models/{m}/stats", "GET", "statistics"),
    ("/v2/models/{m}/versions/{v}/stats", "GET", "statistics"),
    ("/v2/models/{m}/infer", "POST", "infer"),
    ("/v2/models/{m}/versions/{v}/infer", "POST", "infer"),
    ("/v2/models/{m}/generate", "POST", "unsupported"),
    ("/v2/models/{m}/generate_stream", "POST", "unsupported"),
    ("/v2/models/{m}/versions/{v}/generate", "POST", "unsupported"),
    ("/v2/models/{m}/versions/{v}/generate_stream", "POST", "unsupported"),
    ("/v2/models/{m}/trace/setting", "GET POST", "unsupported"),
    ("/v2/trace/setting", "GET POST", "unsupported"),
    ("/v2/logging", "GET POST", "unsupported"),
    ("/v2/repository/index", "POST", "index"),
    ("/v2/repository/models/{m}/load", "POST", "load"),
    ("/v2/repository/models/{m}/unload", "POST", "unload"),
    ("/v2/repository/{r}/index", "POST", "unsupported"),
    ("/v2/repository/{r}/models/{m}/load", "POST", "unsupported"),
    ("/v2/repository/{r}/models/{m}/unload", "POST", "unsupported"),
    ("/v2/systemsharedmemory/status", "GET", "system_memory_status"),
    ("/v2/systemsharedmemory/unregister", "POST", "system_memory_unregister"),
    ("/v2/systemsharedmemory/region/{r}/status", "GET", "system_memory_status"),
    ("/v2/systemsharedmemory/region/{r}/register", "POST", "system_memory_register"),
    ("/v2/systemsharedmemory/region/{r}/unregister", "POST", "system_memory_unregister"),
    ("/v2/cudasharedmemory/status", "GET", "cuda_memory_status"),
    ("/v2/cudasharedmemory/unregister", "POST", "cuda_memory_unregister"),
    ("/v2/cudasharedmemory/region/{r}/status", "GET", "cuda_memory_status"),
    ("/v2/cudasharedmemory/region/{r}/register", "POST", "cuda_memory_register"),
    ("/v2/cudasharedmemory/region/{r}/unregister", "POST", "cuda_memory_unregister"),
    ("/v1/models", "GET", "v1_models"),
    ("/v1/models/{m}", "GET", "v1_model"),
    ("/v1/models/{m}:predict", "POST", "v1_predict"),
    ("/v1/models/{m}:explain", "POST", "unsupported"),
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads."""

    name: str
    methods: tuple[str, ...]
    model: str = ""
    version: str = ""
    region: str = ""
    """Of shared memory; or a repository."""


class _Node:
    """One level of the tree that the table is folded into."""

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: dict[str, _Node] = {}
        self.leaf: tuple[str, tuple[str, ...]] | None = None


def _tree() -> _Node:
    root = _Node()
    for template, methods, name in _TABLE:
        node = root
        for segment in template.split("/")[1:]:
            children = node.variable if segment.startswith("{") else node.fixed
            node = children.setdefault(segment, _Node())
        allowed = methods.split()
        node.leaf = (name, tuple([*allowed, "HEAD"] if "GET" in allowed else allowed))
    return root


_ROOT = _tree()


NOWHERE = Route("unknown", ())
"""Where a path leads that is in no table."""


_KNOWN: BoundedCache[bytes, Route] = BoundedCache(most_entry_bytes=256)


def match(raw_path: bytes) -> Route:
    """The route of a raw path, or `NOWHERE`; methods are not looked at."""
    route = _KNOWN.get(raw_path)
    if route is None:
        segments = raw_path.decode("ascii", "replace").split("/", 9)[1:]
        route = (_walk(_ROOT, segments, 0, {}) if len(segments) <= 8 else None) or NOWHERE
        _KNOWN.put(raw_path, route, len(raw_path))
    return route


def not_found(raw_path: bytes) -> InferenceError:
    shown = unquote(raw_path.decode("ascii", "replace"))[:200]
    return InferenceError(Code.NOT_FOUND, f"there is nothing at {shown}; the Open Inference Protocol begins at /v2")


def _walk(node: _Node, segments: list[str], at: int, parameters: dict[str, str]) -> Route | None:
    if at == len(segments):
        if node.leaf is None:
            return None
        name, methods = node.leaf
        return Route(name, methods, parameters.get("m", ""), parameters.get("v", ""), parameters.get("r", ""))
    segment = segments[at]
    fixed = node.fixed.get(segment)
    if fixed is not None and (route := _walk(fixed, segments, at + 1, parameters)) is not None:
        return route
    for pattern, child in sorted(node.variable.items(), key=lambda item: -len(item[0])):
        value = _bound(pattern, segment)
        if value is not None:
            route = _walk(child, segments, at + 1, {**parameters, pattern[1]: value})
            if route is not None:
                return route
    return None


def _bound(pattern: str, segment: str) -> str | None:
    """What `pattern` ({m}, {v}, {r}, {m}:predict) takes from a segment; None when it does not fit."""
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return None
    verb = pattern[3:]
    if not text.endswith(verb) or text == verb:
        return None
    if pattern == "{v}":
        return text if text.isascii() and text.isdigit() else None
    return text.removesuffix(verb)
