"""A unary call that never sends its message is ended by the server, and a message that can't be decoded has one sentence.

grpc.aio waits for a unary call's message without end, and never answers a call that its client ends without one. Read
as a stream of one message, by grpc.aio's public interface, the same call has a deadline of the server's own for it, and
its end is seen. Messages are decoded here: grpc.aio answers a failure with the exception's class. Calls of a pool
(request_pool.py) have the same rule at less cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from crossover.protocol import deadline
from crossover.transport.grpc.messages import BadMessageError, decoded
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

MESSAGE_SECONDS = 60.0
"""From a call's metadata to the end of its message."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class FirstMessages(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The handlers of another registry, with both."""

    def __init__(self, inner: grpc.GenericRpcHandler) -> None:
        self._inner = inner

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = self._inner.service(handler_call_details)
        return None if handler is None else awaiting_message(handler)


def awaiting_message(handler: Any) -> Any:
    """The same handler, which reads its one message itself; of handlers of streams only the decoding changes."""
    parse = handler.request_deserializer
    if handler.request_streaming:
        return handler if parse is None else _decoding(handler, parse)
    if handler.response_streaming:

        async def answers(_: Any, rpc: Any) -> AsyncIterator[Any]:
            async for message in handler.unary_stream(await _decoded(parse, await _message(rpc), rpc), rpc):
                yield message

        return grpc.stream_stream_rpc_method_handler(answers, None, handler.response_serializer)

    async def answer(_: Any, rpc: Any) -> Any:
        return await handler.unary_unary(await _decoded(parse, await _message(rpc), rpc), rpc)

    return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _decoding(handler: Any, parse: Callable[[bytes], Any]) -> Any:
    """A handler of two streams that takes decoded messages."""

    async def decoded(messages: AsyncIterator[bytes], rpc: Any) -> AsyncIterator[Any]:
        async for message in messages:
            yield await _decoded(parse, message, rpc)

    async def answers(messages: AsyncIterator[bytes], rpc: Any) -> AsyncIterator[Any]:
        async for answer in handler.stream_stream(decoded(messages, rpc), rpc):
            yield answer

    return grpc.stream_stream_rpc_method_handler(answers, None, handler.response_serializer)


async def _decoded(parse: Callable[[bytes], Any] | None, message: bytes, rpc: Any) -> Any:
    try:
        return decoded(parse, message)
    except BadMessageError as bad:
        await rpc.abort(_CODES[bad.code], bad.text)
        raise


async def _message(rpc: Any) -> Any:
    try:
        with TimeLimit(deadline.after(MESSAGE_SECONDS)):
            message = await rpc.read()
    except TimeoutError:
        await rpc.abort(*too_late())
        raise
    if message is aio.EOF:
        await rpc.abort(*NO_MESSAGE)
    return message


NO_MESSAGE = grpc.StatusCode.INTERNAL, "the call has no message; a unary call has one"


def too_late() -> tuple[grpc.StatusCode, str]:
    """How a call ends whose message did not come."""
    return grpc.StatusCode.DEADLINE_EXCEEDED, f"the call's message did not come within {MESSAGE_SECONDS:g} s"
