"""What is measured: a line a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crossover.comparison.bench import gateways

Payload = Literal["digits", "image"]


@dataclass(frozen=True, slots=True)
class Point:
    """One path under one load."""

    name: str
    service: str
    """Who answers the load; "lean" ones have or ask a gRPC port without grpcio.

    A gateway is charged together with the model server behind it.
    """
    wire: str
    """How the load comes in: `rest`, `rest-binary`, `grpc`, or a caller's wire."""
    payload: str
    """digits: 64 floats in, 10 out; image: 1x3x224x224 floats (602 KB) in, 3 out; others are made by who measures."""
    callers: int
    floor: tuple[str, ...] = ()
    """The points whose sum is the least that this one can cost with these libraries."""
    upstream: str = ""
    caller_pays: bool = False
    """The CPU of the caller is the figure, not the services'."""

    @property
    def over_rest(self) -> bool:
        """Whether the lean HTTP load generator can drive it."""
        return not self.caller_pays and self.wire in {"rest", "rest-binary"}


ENGINE = {"digits": "engine, digits", "image": "engine, image"}
"""The floors that are no service: `session.run` in a loop."""


def _floors() -> list[Point]:
    return [
        Point("uvicorn, JSON in, x32", "floor", "rest", "digits", 32),
        Point("uvicorn, JSON in, x1", "floor", "rest", "digits", 1),
        Point("uvicorn, 1.6 MB in, x4", "floor", "rest", "image", 4),
        Point("uvicorn, 602 KB in, x4", "floor", "rest-binary", "image", 4),
        Point("grpc.aio, x32", "floor", "grpc", "digits", 32),
        Point("grpc.aio, x1", "floor", "grpc", "digits", 1),
        Point("grpc.aio, 602 KB in, x4", "floor", "grpc", "image", 4),
        Point("bare stub, x32", "floor", "bare-stub", "digits", 32, caller_pays=True),
        Point("bare stub, x1", "floor", "bare-stub", "digits", 1, caller_pays=True),
        Point("bare stub, 602 KB, x4", "floor", "bare-stub", "image", 4, caller_pays=True),
        Point("aiohttp by hand, x32", "floor", "bare-aiohttp", "digits", 32, caller_pays=True),
    ]


def _model_server() -> list[Point]:
    def point(how: str, wire: str, payload: Payload, callers: int, floor: str, service: str = "model server") -> Point:
        return Point(f"{how}, x{callers}", service, wire, payload, callers, (floor, ENGINE[payload]))

    return [
        point("REST JSON", "rest", "digits", 32, "uvicorn, JSON in, x32"),
        point("REST JSON", "rest", "digits", 1, "uvicorn, JSON in, x1"),
        point("gRPC", "grpc", "digits", 32, "grpc.aio, x32"),
        point("gRPC", "grpc", "digits", 1, "grpc.aio, x1"),
        point("gRPC, lean port", "grpc", "digits", 32, "grpc.aio, x32", "lean model server"),
        point("gRPC, lean port", "grpc", "digits", 1, "grpc.aio, x1", "lean model server"),
        point("image, REST JSON", "rest", "image", 4, "uvicorn, 1.6 MB in, x4"),
        point("image, REST binary", "rest-binary", "image", 4, "uvicorn, 602 KB in, x4"),
        point("image, gRPC", "grpc", "image", 4, "grpc.aio, 602 KB in, x4"),
        point("image, gRPC, lean port", "grpc", "image", 4, "grpc.aio, 602 KB in, x4", "lean model server"),
        Point("REST JSON, batching, x32", "batching model server", "rest", "digits", 32,
              ("uvicorn, JSON in, x32", ENGINE["digits"])),
        Point("gRPC, batching, x32", "batching model server", "grpc", "digits", 32,
              ("grpc.aio, x32", ENGINE["digits"])),
    ]  # fmt: skip


def _gateway() -> list[Point]:
    many, one = ("uvicorn, JSON in, x32", "bare stub, x32", "grpc.aio, x32"), (
        "uvicorn, JSON in, x1", "bare stub, x1", "grpc.aio, x1",
    )  # fmt: skip
    image = ("uvicorn, 602 KB in, x4", "bare stub, 602 KB, x4", "grpc.aio, 602 KB in, x4")
    rest_many = ("uvicorn, JSON in, x32",) * 2

    def point(
        upstream: str,
        wire: str,
        payload: Payload,
        callers: int,
        floors: tuple[str, ...],
        service: str = "gateway",
    ) -> Point:
        how = "" if payload == "digits" else f"image, {'JSON' if wire == 'rest' else 'binary'}, "
        name = f"{how}to {upstream}{' and a lean port' if service == 'lean gateway' else ''}, x{callers}"
        return Point(name, service, wire, payload, callers, (*floors, ENGINE[payload]), upstream)

    return [
        point("grpc", "rest", "digits", 32, many),
        point("grpc", "rest", "digits", 1, one),
        point("grpc-lean", "rest", "digits", 32, many),
        point("grpc-lean", "rest", "digits", 1, one),
        point("grpc", "rest", "digits", 32, many, "lean gateway"),
        point("grpc-lean", "rest", "digits", 32, many, "lean gateway"),
        point("grpc-lean", "rest", "digits", 1, one, "lean gateway"),
        point("grpc-stream", "rest", "digits", 32, many),
        point("grpc-stream", "rest", "digits", 1, one),
        point("grpc-coalesced", "rest", "digits", 32, many),
        point("rest", "rest", "digits", 32, rest_many),
        point("rest-binary", "rest", "digits", 32, rest_many),
        point("rest-coalesced", "rest", "digits", 32, rest_many),
        point("inprocess", "rest", "digits", 32, rest_many[:1]),
        point("grpc", "rest", "image", 4, ("uvicorn, 1.6 MB in, x4", *image[1:])),
        point("grpc", "rest-binary", "image", 4, image),
        point("grpc-lean", "rest-binary", "image", 4, image),
        point("grpc-lean", "rest-binary", "image", 4, image, "lean gateway"),
        point("rest-binary", "rest-binary", "image", 4, image[:1] * 2),
    ]


def _options() -> list[Point]:
    """Each by the gateway's default upstream; the gateway without options stands for the floor."""
    plain = Point(f"{gateways.PLAIN}, x32", gateways.PLAIN, "rest", "digits", 32)
    others = ("gateway as started", *gateways.OPTIONS)
    return [plain, *(Point(f"{name}, x32", name, "rest", "digits", 32, (plain.name,)) for name in others)]


def _callers() -> list[Point]:
    def point(wire: str, payload: Payload, callers: int, floor: str) -> Point:
        name = f"{'image, ' if payload == 'image' else ''}{wire}, x{callers}"
        return Point(f"caller {name}", "model server", wire, payload, callers, (floor,), caller_pays=True)

    return [
        point("grpc", "digits", 32, "bare stub, x32"),
        point("grpc-lean", "digits", 32, "bare stub, x32"),
        point("grpc-stream", "digits", 32, "bare stub, x32"),
        point("rest", "digits", 32, "aiohttp by hand, x32"),
        point("rest-binary", "digits", 32, "aiohttp by hand, x32"),
        point("grpc", "image", 4, "bare stub, 602 KB, x4"),
        point("grpc-lean", "image", 4, "bare stub, 602 KB, x4"),
    ]


SECTIONS: dict[str, list[Point]] = {
    "Floors: the transport with nothing behind it": _floors(),
    "Model server": _model_server(),
    "Gateway, with the model server behind it": _gateway(),
    "Options: as make run starts it, and each option alone; of the gateway without any": _options(),
    "Callers: our clients, their own CPU": _callers(),
}
POINTS: dict[str, Point] = {point.name: point for points in SECTIONS.values() for point in points}
