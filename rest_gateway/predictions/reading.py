"""GET and HEAD: one prediction, pages of them, the newest, their summary, and the exchange behind one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from crossover.protocol.codecs.json.text import Fragment, dumps
from crossover.rest_gateway.api.problems import not_found
from crossover.rest_gateway.api.replies import representation
from crossover.rest_gateway.predictions import documents, queries
from crossover.rest_gateway.predictions.documents import PATH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from crossover.rest_gateway.predictions.record import Count, Prediction
    from crossover.rest_gateway.predictions.store import Store


class Reading:
    """Handlers that change nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def one(self, request: Request) -> Response:
        prediction = await existing(self._store, request)
        return await representation(request, await documents.one(prediction), prediction.etag)

    async def page(self, request: Request) -> Response:
        query = dict(request.query_params)
        queries.check_names(query, (*queries.FILTERS, "limit", "cursor"))
        limit = queries.read_limit(query)
        predictions = await self._store.page(queries.read_filter(query), limit + 1, queries.read_cursor(query))
        following = queries.next_page(query, predictions[limit - 1].id) if len(predictions) > limit else None
        headers = {"Link": f'<{following}>; rel="next"'} if following else {}
        return await representation(request, await documents.page(predictions[:limit], following), headers=headers)

    async def latest(self, request: Request) -> Response:
        query = dict(request.query_params)
        queries.check_names(query, queries.FILTERS)
        predictions = await self._store.page(queries.read_filter(query), 1, None)
        if not predictions:
            raise not_found("there is no such prediction yet; POST one to /api/predictions")
        return RedirectResponse(f"{PATH}/{predictions[0].id}", 307, {"Cache-Control": "no-store"})

    async def summary(self, request: Request) -> Response:
        query = dict(request.query_params)
        queries.check_names(query, queries.FILTERS)
        return await representation(request, dumps(summarize(await self._store.counts(queries.read_filter(query)))))

    async def exchange(self, request: Request) -> Response:
        prediction_id = request.path_params["prediction_id"]
        exchange = None if queries.NUL in prediction_id else await self._store.exchange(prediction_id)
        if exchange is None:
            raise _gone(prediction_id)
        halves = {"http": exchange.http, "upstream": exchange.upstream}
        stored = {name: Fragment(text) if text else None for name, text in halves.items()}
        return await representation(request, dumps({"prediction": prediction_id, **stored}))

    async def history(self, request: Request) -> Response:
        prediction_id = request.path_params["prediction_id"]
        history = None if queries.NUL in prediction_id else await self._store.history(prediction_id)
        if history is None:
            raise _gone(prediction_id)
        current, revisions = history
        return await representation(request, await documents.history(current, revisions), current.etag)


async def existing(store: Store, request: Request) -> Prediction:
    """The prediction that the path names; 404 when there is none."""
    prediction_id = request.path_params["prediction_id"]
    prediction = None if queries.NUL in prediction_id else await store.get(prediction_id)
    if prediction is None:
        raise _gone(prediction_id)
    return prediction


def summarize(counts: list[Count]) -> dict[str, object]:
    """The document of `/api/prediction-summary`."""
    states: Counter[str] = Counter()
    upstreams: Counter[str] = Counter()
    for count in counts:
        states[count.state] += count.total
        upstreams[count.upstream] += count.total
    models = sorted({count.model for count in counts})
    return {
        **_accuracy(counts),
        "states": dict(states),
        "upstreams": dict(upstreams),
        "models": [{"model": name, **_accuracy(c for c in counts if c.model == name)} for name in models],
    }


def _accuracy(counts: Iterable[Count]) -> dict[str, object]:
    chosen = list(counts)
    labelled, correct = sum(count.labelled for count in chosen), sum(count.correct for count in chosen)
    return {
        "total": sum(count.total for count in chosen),
        "labelled": labelled,
        "correct": correct,
        "accuracy": correct / labelled if labelled else None,
    }


def _gone(prediction_id: str) -> Exception:
    return not_found(f"there is no prediction '{prediction_id[:60]}'")
