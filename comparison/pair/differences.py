"""What differs between two services besides the protocol: most published disputes turned on one of these."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.sides import grpc_reply

if TYPE_CHECKING:
    from crossover.comparison.pair.cases import Asker, Seen
    from crossover.comparison.pair.schema import Method
    from crossover.comparison.pair.subject import Pair

FAR_LARGER, _LEAST_BYTES = 1.5, 32
"""Replies of which one is so many times, and by so many bytes, as long as the other are named."""
_PROXIES = (
    "via",
    "x-envoy-upstream-service-time",
    "x-cache",
    "x-forwarded-for",
    "cf-ray",
    "x-served-by",
    "x-amz-cf-id",
)
_PROXY_SERVERS = ("envoy", "nginx", "haproxy", "traefik", "caddy", "cloudflare", "varnish", "istio-envoy", "awselb")
FEW_STREAMS = 100


def seen_in(pair: Pair, method: Method, asker: Asker, seen: Seen) -> list[str]:
    """Sentences on what the first replies and their connections show."""
    return [text for text in (
        _tls(pair), _compression(seen), _proxy(seen), _cache(seen), _sizes(method, seen), _connections(asker), _streams(asker),
    ) if text]  # fmt: skip


def _tls(pair: Pair) -> str:
    over = [name for name, side in (("gRPC", pair.grpc), ("HTTP", pair.rest)) if side.address.tls]
    unix = [name for name, side in (("gRPC", pair.grpc), ("HTTP", pair.rest)) if side.address.path]
    said = [f"TLS on one side alone: {over[0]}"] if len(over) == 1 else []
    said += [f"a Unix socket on one side alone: {unix[0]}"] if len(unix) == 1 else []
    return "; ".join(said)


def _compression(seen: Seen) -> str:
    grpc, rest = seen.grpc.header(b"grpc-encoding"), seen.rest.header(b"content-encoding")
    said = [f"{name} compresses its replies ({found})" for name, found in (("gRPC", grpc), ("HTTP", rest))
            if found and found != "identity"]  # fmt: skip
    return said[0] if len(said) == 1 else ""


def _proxy(seen: Seen) -> str:
    found = {name: _proxy_in(reply) for name, reply in (("gRPC", seen.grpc), ("HTTP", seen.rest))}
    behind = [(name, why) for name, why in found.items() if why]
    return f"a proxy on one side alone: {behind[0][0]} ({behind[0][1]})" if len(behind) == 1 else ""


def _proxy_in(reply: object) -> str:
    header = reply.header  # type: ignore[attr-defined]  # both kinds of reply have it
    for name in _PROXIES:
        if header(name.encode()):
            return f"header {name}"
    server = (header(b"server") or "").lower()
    return next((f"server: {server}" for known in _PROXY_SERVERS if server.startswith(known)), "")


def _cache(seen: Seen) -> str:
    age, status = seen.rest.header(b"age"), seen.rest.status
    if status == 304:
        return "the HTTP side answers 304 without a body, the gRPC side with one: a cache on one side alone"
    if age and age != "0":
        return f"the HTTP reply comes from a cache (Age: {age})"
    if tag := seen.rest.header(b"etag"):
        return f"the HTTP side offers a cache (ETag {tag[:40]}); clients that use it send less than this load"
    return ""


def _sizes(method: Method, seen: Seen) -> str:
    """Like with like: the gRPC reply as JSON beside the body. That protobuf is shorter is the protocol's own doing."""
    try:
        messages = grpc_reply(seen.grpc).messages or (b"",)
        texts = [_json(method, message) for message in (messages if method.schema.stream else messages[:1])]
    except (OSError, PairError):
        return ""
    as_json = sum(len(text.encode()) for text in texts) + len(texts) - 1
    smaller, larger = sorted((as_json, len(seen.rest.body)))
    if larger - smaller < _LEAST_BYTES or larger <= FAR_LARGER * smaller:
        return ""
    return f"replies of different size: {as_json} bytes over gRPC (as JSON), {len(seen.rest.body)} over HTTP"


def _json(method: Method, message: bytes) -> str:
    return json.dumps(method.as_json(method.decoded(message), defaults=True), separators=(",", ":"))


def _connections(asker: Asker) -> str:
    said = []
    if asker.closes["rest"]:
        said.append("the HTTP service closes its connection after each reply: a connection for each request")
    if asker.closes["grpc"]:
        said.append("the gRPC service closes its connection after each reply: a channel for each call")
    return "; ".join(said)


def _streams(asker: Asker) -> str:
    most = asker.most_streams
    if most is None or most >= FEW_STREAMS:
        return ""
    return f"the gRPC service takes {most} call{'s' * (most != 1)} at a time on a connection: a client with one channel waits there"
