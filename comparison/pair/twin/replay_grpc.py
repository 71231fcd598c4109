"""Replays a recording over gRPC, by grpc.aio as its documentation shows it: python -m ... FOLDER --listen HOST:PORT."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from crossover.comparison.pair import schema
from crossover.comparison.pair.twin import recording

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Replies:
    """Each request's reply and time, found by the request's bytes."""

    def __init__(self, method: schema.Method, recorded: list[recording.Recorded]) -> None:
        self._type = method.request_type
        self._by_meaning: dict[bytes, tuple[Message, float]] = {}
        for one in recorded:
            asked = method.request(recording.canonical(one.message), "the recording")
            reply = method.parsed_reply(one.reply_message)
            self._by_meaning[asked.SerializeToString(deterministic=True)] = reply, one.service_ms / 1000
        self._by_bytes = dict(self._by_meaning)
        self._most = 4 * len(recorded)

    def find(self, data: bytes) -> tuple[Message, float] | None:
        """As the load sends few different bytes, they are compared first."""
        found = self._by_bytes.get(data)
        if found is None:
            found = self._by_meaning.get(self._type.FromString(data).SerializeToString(deterministic=True))
            if found is not None and len(self._by_bytes) < self._most:
                self._by_bytes[data] = found
        return found


async def serve(folder: Path, listen: str) -> None:
    """Serve until the process is ended."""
    _, call, recorded = recording.read(folder)
    method = schema.Method(schema.from_protoset([str(folder / "twin.protoset")], call))
    replies = Replies(method, recorded)

    async def answer(request: tuple[Message, bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        found = replies.find(request[1])
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "the recording has no such request")
            raise AssertionError  # abort does not return
        reply, seconds = found
        if seconds:
            await asyncio.sleep(seconds)
        fresh = method.reply_type()
        fresh.CopyFrom(reply)
        return fresh

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=lambda data: (method.request_type.FromString(data), data),
        response_serializer=method.reply_type.SerializeToString,
    )
    server = grpc.aio.server()
    name, of_service = method.schema.method, method.schema.service
    server.add_registered_method_handlers(of_service, {name: handler})
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(of_service, {name: handler}),))
    server.add_insecure_port(listen)
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.folder, given.listen))


if __name__ == "__main__":
    main()
