"""Single calls outside all measuring: a model's metadata, the right answers, and how many bytes a message has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from crossover.comparison.design import payloads
from crossover.comparison.design.outcomes import Output, outputs_of
from crossover.protocol import wires
from crossover.protocol.deadline import after
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crossover.protocol.inference import Inference
    from crossover.protocol.messages import InferRequest
    from crossover.protocol.wires import Target
    from crossover.protos import inference as pb

_SECONDS = 30.0
T = TypeVar("T")


class AskError(RuntimeError):
    """The service gave no usable answer, in one sentence."""


class LostError(AskError):
    """A service that had answered rightly does so no more, in one sentence."""


class WrongReplyError(LostError):
    """A service answers wrongly: no number that was measured before may be used either."""


def metadata(wire: str, target: Target, model: str) -> pb.ModelMetadataResponse:
    """The model's metadata over `wire`; AskError when there is no such model or no such service: what was asked, what
    came, and what is needed.
    """
    try:
        return _call(wire, target, lambda client: client.model_metadata(model, "", _context()))
    except AskError as error:
        asked = "inference.GRPCInferenceService/ModelMetadata" if wire == "grpc" else f"GET /v2/models/{model}"
        came = "" if wire == "grpc" else _came(target.rest, model)
        raise AskError(
            f"{error} (asked was {asked} of the Open Inference Protocol{came}; two services with another interface are "
            "compared by: python -m comparison pair)"
        ) from None


def _came(url: str, model: str) -> str:
    """What the service answers to the same question, in its own words; empty when nothing comes."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/v2/models/{model}", timeout=5) as reply:  # noqa: S310 - an address of the lab's own
            status, body = reply.status, reply.read(200)
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read(200)
    except (OSError, ValueError):
        return ""
    return f", what came was HTTP {status}: {' '.join(body.decode('utf-8', 'replace').split()) or 'no body'}"


def answers(wire: str, target: Target, requests: list[InferRequest]) -> list[tuple[Output, ...]]:
    """What each request is to be answered with: by knowledge where there is any, else as `wire` answers it first."""
    known = [payloads.known_answer(request) for request in requests]
    if all(answer is not None for answer in known):
        return [answer for answer in known if answer is not None]

    async def ask(client: Inference) -> list[tuple[Output, ...]]:
        return [outputs_of(await client.infer(request, _context())) for request in requests]

    return _call(wire, target, ask)


def message_bytes(wire: str, target: Target, request: InferRequest) -> int:
    """Encoded bytes of the request and its reply over `wire`, without what HTTP or gRPC put around them."""

    async def ask(client: Inference) -> int:
        context = _context()
        await client.infer(request, context)
        return context.bytes_sent + context.bytes_received

    return _call(wire, target, ask)


def _context() -> CallContext:
    return CallContext(deadline=after(_SECONDS))


def _call(wire: str, target: Target, ask: Callable[[Inference], Awaitable[T]]) -> T:
    async def run() -> T:
        client = wires.connect(wire, target)
        try:
            return await ask(client)
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    except InferenceError as error:
        where = target.grpc if wires.wire(wire).kind == "grpc" else target.rest
        raise AskError(f"the service at {where} does not answer over {wire}: {error.message}") from None
