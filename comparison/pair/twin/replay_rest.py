"""Replays a recording over REST, by FastAPI with pydantic models: python -m ... FOLDER --listen HOST:PORT."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from pydantic import ConfigDict, Field, create_model

from crossover.comparison.pair import schema
from crossover.comparison.pair.twin import recording

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor


def model_of(described: Descriptor, within: tuple[str, ...] = ()) -> Any:
    """The pydantic model of a message's JSON; `Any` for well-known types and for what contains itself."""
    if described.full_name in within or described.file.package == "google.protobuf":
        return Any
    inside = (*within, described.full_name)
    fields: dict[str, Any] = {
        # numbers as names: a field may be called as something that BaseModel has
        f"field_{field.number}": (_type(field, inside) | None, Field(None, alias=field.json_name))
        for field in described.fields
    }
    return create_model(described.name, __config__=ConfigDict(populate_by_name=False), **fields)


def _type(field: FieldDescriptor, within: tuple[str, ...]) -> Any:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return dict[str, _type(inner.fields_by_name["value"], within)]  # type: ignore[misc]  # types made as it runs
    kinds: dict[int, Any] = {
        field.TYPE_STRING: str, field.TYPE_BYTES: str, field.TYPE_ENUM: str, field.TYPE_BOOL: bool,
        field.TYPE_DOUBLE: float, field.TYPE_FLOAT: float,
    }  # fmt: skip
    found = model_of(inner, within) if inner is not None else kinds.get(field.type, int)
    return list[found] if field.is_repeated else found  # type: ignore[valid-type]  # likewise


class Replies:
    """Each request's reply and time, found by its target and body."""

    def __init__(self, route: recording.Route, recorded: list[recording.Recorded], answered: Any) -> None:
        self._has_body = route.has_body
        self._by_meaning: dict[tuple[str, str], tuple[Any, float]] = {}
        for one in recorded:
            reply = answered.model_validate(one.reply) if answered is not Any else one.reply
            said = recording.canonical(one.body) if route.has_body else ""
            self._by_meaning[one.target, said] = reply, one.service_ms / 1000
        self._by_bytes: dict[tuple[str, bytes], tuple[Any, float]] = {}
        self._most = 4 * len(recorded)

    def find(self, target: str, body: bytes) -> tuple[Any, float] | None:
        """As the load sends few different bytes, they are compared first: looking up shall cost as little as over gRPC."""
        key = target, body
        found = self._by_bytes.get(key)
        if found is None:
            said = recording.canonical(json.loads(body or b"null")) if self._has_body else ""
            found = self._by_meaning.get((target, said))
            if found is not None and len(self._by_bytes) < self._most:
                self._by_bytes[key] = found
        return found


def _target(request: Request) -> str:
    query = request.scope.get("query_string", b"")
    return str((request.scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1"))


def application(folder: Path) -> FastAPI:
    """The recorded endpoint as an application, with its OpenAPI document."""
    route, call, recorded = recording.read(folder)
    method = schema.Method(schema.from_protoset([str(folder / "twin.protoset")], call))
    asked: Any = model_of(method.descriptor.input_type)
    answered: Any = model_of(method.descriptor.output_type)
    if any(one.body is not None and one.body != one.message for one in recorded):
        asked = Any  # part of the message stands in the URL, or the body is no object
    if any(not isinstance(one.reply, dict) for one in recorded):
        answered = Any
    replies = Replies(route, recorded, answered)
    app = FastAPI(title=call)

    async def answer(request: Request, body: Any = Body()) -> Any:  # noqa: ARG001, B008 - read and validated for its own sake
        found = replies.find(_target(request), await request.body())
        if found is None:
            raise HTTPException(404, "the recording has no such request")
        reply, seconds = found
        if seconds:
            await asyncio.sleep(seconds)
        return Response(status_code=route.status) if reply is None else reply

    answer.__annotations__ = {"request": Request, "body": asked, "return": answered}
    if not route.has_body:
        answer = _without_body(answer)
    path = "/{path:path}" if "{{" in route.path else route.path
    app.add_api_route(
        path, answer, methods=[route.method], status_code=route.status, name=method.schema.method,
        response_model=None if answered is Any else answered, response_model_exclude_unset=True,
    )  # fmt: skip
    return app


def _without_body(answer: Any) -> Any:
    async def bodiless(request: Request) -> Any:
        return await answer(request)

    bodiless.__annotations__ = {"request": Request}
    return bodiless


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listen", required=True)
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    uvicorn.run(application(given.folder), host=host, port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
