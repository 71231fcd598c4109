"""POST: run and keep one prediction, several side by side, or accept them to be run later.

What fails while the caller waits makes nothing: no row, and the same Idempotency-Key may be used again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from crossover.protocol.deadline import after
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.timeline import Timeline, durations, server_timing
from crossover.rest_gateway.api.bodies import read_document
from crossover.rest_gateway.api.negotiation import JSON, Preferences, preferences
from crossover.rest_gateway.api.problems import RETRY_SECONDS, Problem, of_error
from crossover.rest_gateway.predictions import documents, keys
from crossover.rest_gateway.predictions.callers import UPSTREAM_HEADER
from crossover.rest_gateway.predictions.exchange import http_half
from crossover.rest_gateway.predictions.orders import Order, read_order, read_orders
from crossover.rest_gateway.predictions.record import Prediction, State, new_id, now_micros
from crossover.rest_gateway.predictions.store import ConflictError, KeyHold, StoredExchange, StoredReply
from crossover.service.tracing import trace_text
from crossover.transport.off_loop import off_loop
from crossover.transport.short_turns import take_turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from starlette.requests import Request

    from crossover.protocol.inference import Inference
    from crossover.rest_gateway.predictions.callers import Calls
    from crossover.rest_gateway.predictions.options import PredictionOptions
    from crossover.rest_gateway.predictions.record import Outcome
    from crossover.rest_gateway.predictions.running import Ran, Runner
    from crossover.rest_gateway.predictions.store import Store
    from crossover.rest_gateway.predictions.workers import Workers

_KNOWN_MODEL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """An order with the way it goes."""

    order: Order
    upstream: str
    inference: Inference
    pointer: str


class Creating:
    """The handler of POST /api/predictions."""

    def __init__(
        self, store: Store, runner: Runner, workers: Workers, calls: Calls, owner: str, options: PredictionOptions
    ) -> None:
        self._store = store
        self._runner = runner
        self._workers = workers
        self._calls = calls
        self._owner = owner
        self._options = options

    async def create(self, request: Request) -> Response:
        timeline = Timeline()
        timeline.mark("received")
        body, document = await read_document(request, self._options.max_message_bytes)
        key = keys.read_key(request.headers.get(keys.HEADER))
        wishes = preferences(request.headers.getlist("prefer"))
        single = "requests" not in document
        orders = await off_loop(len(body), _orders, document)
        chosen = self._chosen(request, orders, single)
        timeline.mark("decoded")
        fingerprint = await off_loop(len(body), keys.fingerprint, orders, single=single) if key is not None else ""
        async with self._key(key, fingerprint) as earlier:
            if earlier is not None:
                return await self._again(earlier)
            if wishes.respond_async:
                return await self._accept(request, body, chosen, key, wishes, single)
            if single:
                return await self._run_one(request, body, chosen[0], key, timeline)
            return await self._run_several(request, body, chosen, key)

    def _chosen(self, request: Request, orders: list[Order], single: bool) -> list[Chosen]:
        pointers = [""] if single else [f"/requests/{index}" for index in range(len(orders))]
        return [
            Chosen(order, *self._calls.choose(request, order.upstream, pointer), pointer)
            for order, pointer in zip(orders, pointers, strict=True)
        ]

    async def _run_one(
        self, request: Request, body: bytes, chosen: Chosen, key: str | None, timeline: Timeline
    ) -> Response:
        ran = await self._ran(chosen, self._calls.context(request, timeline))
        prediction = _made(chosen, ran.outcome)
        response = await single_response(prediction, 201, self._timing(ran))
        await self._keep(request, body, response, [(prediction, ran)], key)
        return response

    async def _run_several(self, request: Request, body: bytes, chosen: list[Chosen], key: str | None) -> Response:
        contexts = [self._calls.context(request) for _ in chosen]
        started = time.perf_counter()
        runs = await side_by_side([self._ran(*pair) for pair in zip(chosen, contexts, strict=True)])
        beside = {
            "elapsed_ms": round((time.perf_counter() - started) * 1e3, 3),
            "sum_ms": round(sum((ran.outcome.timings or {}).get("total", 0.0) for ran in runs), 3),
        }
        predictions = [(_made(item, ran.outcome), ran) for item, ran in zip(chosen, runs, strict=True)]
        response = await _several_response([prediction for prediction, _ in predictions], 201, beside)
        await self._keep(request, body, response, predictions, key, beside)
        return response

    async def _accept(
        self,
        request: Request,
        body: bytes,
        chosen: list[Chosen],
        key: str | None,
        wishes: Preferences,
        single: bool,
    ) -> Response:
        """Queue the work, where it outlives this process; 202, or 201 when it is done within `wait`."""
        await side_by_side([self._check_known(item) for item in chosen])
        predictions = [_made(item, None, trace_text()) for item in chosen]
        first = predictions[0]
        headers = {"Retry-After": str(RETRY_SECONDS), "Preference-Applied": "respond-async"}
        response = await (
            single_response(first, 202, headers) if single else _several_response(predictions, 202, {}, headers)
        )
        waited = self._workers.expect(first.id) if single and wishes.wait_seconds else None
        try:
            await self._keep(request, body, response, [(prediction, None) for prediction in predictions], key)
            self._workers.wake()
            if waited is None or not await _within(waited, wishes.wait_seconds or 0.0):
                return response
        finally:
            self._workers.forget(first.id)
        done = await self._store.get(first.id)
        return response if done is None or done.outcome is None else await single_response(done, 201)

    async def _check_known(self, chosen: Chosen) -> None:
        """404 for a model that the server does not know; when the server is away, the work is accepted and waits."""
        await take_turn()
        context = CallContext(after(_KNOWN_MODEL_SECONDS))
        try:
            await chosen.inference.model_metadata(chosen.order.model, chosen.order.version, context)
        except InferenceError as error:
            if error.code is Code.NOT_FOUND:
                raise _placed(error, chosen.pointer) from None

    async def _ran(self, chosen: Chosen, context: CallContext) -> Ran:
        await take_turn()
        try:
            return await self._runner.run(chosen.upstream, chosen.inference, chosen.order.request(), context)
        except InferenceError as error:
            raise _placed(error, chosen.pointer) from None

    async def _keep(
        self,
        request: Request,
        body: bytes,
        response: Response,
        predictions: list[tuple[Prediction, Ran]] | list[tuple[Prediction, None]],
        key: str | None,
        beside: dict[str, float] | None = None,
    ) -> None:
        http = http_half(request, body, response)
        rows = [(prediction, StoredExchange(http, ran.exchange if ran else None)) for prediction, ran in predictions]
        several = beside if beside is not None or len(predictions) == 1 else {}
        try:
            await self._store.add(rows, KeyHold(key, self._owner, several) if key is not None else None)
        except ConflictError:
            raise Problem(
                409, Code.ABORTED, f"another request took over this {keys.HEADER} meanwhile; ask again with it"
            ) from None

    @asynccontextmanager
    async def _key(self, key: str | None, fingerprint: str) -> AsyncIterator[StoredReply | None]:
        """Hold the key for the body with this fingerprint while the block runs; yields what an earlier request under
        it was answered with.
        """
        if key is None:
            yield None
            return
        use = await self._store.reserve_key(key, fingerprint, self._owner, self._options.lease_seconds)
        earlier = keys.earlier_reply(use, fingerprint)
        if earlier is not None:
            yield earlier
            return
        self._workers.keys_held += 1
        try:
            yield None
        except BaseException:
            await asyncio.shield(self._store.free_key(key, self._owner))
            raise
        finally:
            self._workers.keys_held -= 1

    async def _again(self, reply: StoredReply) -> Response:
        """The answer to a repeated request: what the first one made, as it is now."""
        predictions = await self._store.many(reply.prediction_ids)
        if len(predictions) < len(reply.prediction_ids):
            raise Problem(410, Code.NOT_FOUND, f"what the first request with this {keys.HEADER} made has been deleted")
        status = 201 if all(prediction.outcome is not None for prediction in predictions) else 202
        headers = {"Idempotency-Replayed": "true"} | ({"Retry-After": str(RETRY_SECONDS)} if status == 202 else {})
        if reply.beside is None:
            return await single_response(predictions[0], status, headers)
        return await _several_response(predictions, status, reply.beside, headers)

    def _timing(self, ran: Ran) -> dict[str, str]:
        return {"Server-Timing": server_timing(durations(ran.timeline))} if self._options.timing else {}


def _orders(document: dict[str, Any]) -> list[Order]:
    return read_orders(document) if "requests" in document else [read_order(document)]


async def side_by_side(works: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All results in order; the first failure ends the others and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def single_response(prediction: Prediction, status: int, headers: dict[str, str] | None = None) -> Response:
    """The representation of one prediction with where it is and its validator."""
    place = {"Location": f"{documents.PATH}/{prediction.id}"} if status in (201, 202) else {}
    fields = {**place, "ETag": prediction.etag, UPSTREAM_HEADER: prediction.task.upstream, **(headers or {})}
    return Response(await documents.one(prediction), status, fields, media_type=JSON)


async def _several_response(
    predictions: list[Prediction], status: int, beside: dict[str, float], headers: dict[str, str] | None = None
) -> Response:
    return Response(await documents.several(predictions, beside), status, headers, media_type=JSON)


def _made(chosen: Chosen, outcome: Outcome | None, trace: str = "") -> Prediction:
    now = now_micros()
    state = State.QUEUED if outcome is None else State.SUCCEEDED
    order = chosen.order
    return Prediction(
        new_id(),
        order.task(chosen.upstream, trace),
        state,
        now,
        now,
        label=order.label,
        note=order.note,
        outcome=outcome,
    )


def _placed(error: InferenceError, pointer: str) -> Problem:
    """The problem for a model's error, with the place in a body of several."""
    problem = of_error(error)
    if pointer:
        problem.members["pointer"] = pointer
    return problem


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
