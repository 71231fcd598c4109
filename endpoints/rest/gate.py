"""The door of an HTTP port: asked for every request, whoever answers it, when its head has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from crossover.endpoints.rest.errors import error_reply
from crossover.protocol.errors import InferenceError
from crossover.service.doors import Refusal
from crossover.transport.http1.messages import RefusalError, Reply

if TYPE_CHECKING:
    from crossover.service.doors import Door
    from crossover.transport.http1.exchange import Exchange
    from crossover.transport.http1.messages import Gate

Refuse: TypeAlias = Callable[[bytes, InferenceError | RefusalError, str], Reply]
"""The reply for what a door or a connection refuses on a path, in the form of the API that the path belongs to; the text is
the request's id."""


def gate_of(door: Door, refuse: Refuse | None = None) -> Gate:
    """The gate of a listener; what the door adds goes with whatever reply follows."""

    def gate(exchange: Exchange) -> Reply | None:
        if exchange.head.passes:
            return None
        peer = exchange.peer
        verdict = door.check(exchange.head, peer[0] if peer is not None else "", exchange.scheme)
        if verdict.fields:
            exchange.added.extend(verdict.fields)
        if not isinstance(verdict, Refusal):
            exchange.head.passes = verdict.lasting and not verdict.fields
            return None
        if verdict.error is None:
            return Reply(204, [])
        if refuse is None:
            return error_reply(verdict.error)
        return refuse(exchange.head.path, verdict.error, exchange.request_id)

    return gate
