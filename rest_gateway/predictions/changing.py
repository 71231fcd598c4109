"""PATCH, PUT and DELETE: changes to one prediction, each on a state that the caller names with If-Match."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from crossover.rest_gateway.api.bodies import read_document
from crossover.rest_gateway.api.conditions import check_match, require_match, stale
from crossover.rest_gateway.api.negotiation import JSON, MERGE_PATCH, preferences
from crossover.rest_gateway.api.problems import RETRY_SECONDS, not_found, unprocessable
from crossover.rest_gateway.predictions.creating import single_response
from crossover.rest_gateway.predictions.exchange import http_half
from crossover.rest_gateway.predictions.orders import read_order, read_patch
from crossover.rest_gateway.predictions.reading import existing
from crossover.rest_gateway.predictions.store import ConflictError, Replacement, StoredExchange
from crossover.service.tracing import trace_text
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from crossover.rest_gateway.predictions.callers import Calls
    from crossover.rest_gateway.predictions.options import PredictionOptions
    from crossover.rest_gateway.predictions.record import Prediction
    from crossover.rest_gateway.predictions.running import Runner
    from crossover.rest_gateway.predictions.store import Store
    from crossover.rest_gateway.predictions.workers import Workers

_TRIES = 10
"""`If-Match: *` means whatever state there is, so a change that comes between is tried again."""


class Changing:
    """Handlers that change or remove one prediction."""

    def __init__(
        self, store: Store, runner: Runner, workers: Workers, calls: Calls, options: PredictionOptions
    ) -> None:
        self._store = store
        self._runner = runner
        self._workers = workers
        self._calls = calls
        self._limit = options.max_message_bytes

    async def patch(self, request: Request) -> Response:
        """A JSON Merge Patch (RFC 7396) of label and note; one that changes nothing makes no new ETag."""
        current = await existing(self._store, request)
        require_match(request.headers.get("if-match"))
        _, document = await read_document(request, self._limit, (MERGE_PATCH, JSON), "Accept-Patch")
        changes = read_patch(document)

        async def apply(now: Prediction) -> Prediction:
            label, note = changes.get("label", now.label), changes.get("note", now.note)
            if (type(label), label, note) == (type(now.label), now.label, now.note):
                return now
            return await self._store.annotate(now, label, note)

        return await single_response(await self._applied(request, current, apply), 200)

    async def put(self, request: Request) -> Response:
        """Replace the input and run again; nothing changes when that fails."""
        current = await existing(self._store, request)
        condition = request.headers.get("if-match")
        require_match(condition)
        body, document = await read_document(request, self._limit)
        if "requests" in document:
            raise unprocessable("PUT replaces one prediction; 'requests' is for POST", "/requests")
        order = await off_loop(len(body), read_order, document)
        check_match(condition, current.etag)
        upstream, inference = self._calls.choose(request, order.upstream, "")
        waits = preferences(request.headers.getlist("prefer")).respond_async
        task = order.task(upstream, trace_text() if waits else "")
        ran = None
        if not waits:
            ran = await self._runner.run(upstream, inference, order.request(), self._calls.context(request))

        async def exchange_of(changed: Prediction) -> StoredExchange:
            return StoredExchange(http_half(request, body, await _put_response(changed)), ran.exchange if ran else None)

        async def apply(now: Prediction) -> Prediction:
            return await self._store.replace(now, replacement, exchange_of)

        replacement = Replacement(task, order.label, order.note, ran.outcome if ran else None)
        changed = await self._applied(request, current, apply)
        if waits:
            self._workers.wake()
        return await _put_response(changed)

    async def delete(self, request: Request) -> Response:
        current = await existing(self._store, request)
        condition = request.headers.get("if-match")
        check_match(condition, current.etag)
        only = current.revision if condition is not None and condition.strip() != "*" else None
        try:
            if not await self._store.delete(current.id, only):
                raise not_found(f"there is no prediction '{current.id}' any more")
        except ConflictError:
            raise stale() from None
        return Response(status_code=204)

    async def _applied(
        self, request: Request, current: Prediction, apply: Callable[[Prediction], Awaitable[Prediction]]
    ) -> Prediction:
        """Apply a change to the revision that If-Match names; 412 when another came first."""
        for _ in range(_TRIES):
            check_match(request.headers.get("if-match"), current.etag)
            try:
                return await apply(current)
            except ConflictError:
                current = await existing(self._store, request)
        raise stale()


async def _put_response(changed: Prediction) -> Response:
    if changed.outcome is not None:
        return await single_response(changed, 200)
    return await single_response(
        changed, 202, {"Retry-After": str(RETRY_SECONDS), "Preference-Applied": "respond-async"}
    )
