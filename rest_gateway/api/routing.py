"""The frame around every ``/api`` handler: 406 before it runs, problem details for what it raises, 405 with Allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.exception_handlers import http_exception_handler
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match

from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code
from crossover.rest_gateway.api.failures import PREFIX, as_problem
from crossover.rest_gateway.api.negotiation import check_acceptable
from crossover.rest_gateway.api.problems import MEDIA_TYPE, Problem, document, identified, not_found
from crossover.service.log import request_id
from crossover.transport.http1.messages import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, MutableMapping

    from starlette.routing import BaseRoute


class ApiRoute(APIRoute):
    """A route that answers every failure with problem details."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                if request.method != "OPTIONS":
                    check_acceptable(request.headers.get("accept"))
                return await handle(request)
            except ClientGoneError:
                return Response(status_code=Code.CANCELLED.status.http)
            except HTTPException:
                raise
            except Exception as error:  # noqa: BLE001 - the last door: the log gets the reason, the caller a problem
                return response(as_problem(error), request.url.path)

        return answer


def response(problem: Problem, instance: str) -> Response:
    """The problem as an HTTP response."""
    return Response(
        dumps(identified(document(problem, instance), request_id.get())),
        problem.status,
        {"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


def router() -> APIRouter:
    """A router whose routes speak problem details."""
    return APIRouter(prefix=PREFIX, route_class=ApiRoute)


def finish(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Take in the routers, and answer what reaches no handler with problem details (404, 405 with Allow)."""
    routes = []
    for router in routers:
        app.include_router(router)
        routes.extend(router.routes)
    outside = app.exception_handlers.get(HTTPException)

    async def unrouted(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            return response(_unrouted_problem(request, error, routes), path)
        return await cast("Any", outside or http_exception_handler)(request, error)

    app.add_exception_handler(HTTPException, cast("Any", unrouted))


def add_options(routes: APIRouter, path: str, headers: dict[str, str] | None = None) -> None:
    """OPTIONS for `path`: 204 with Allow, and what bodies it takes."""

    async def options(request: Request) -> Response:
        return Response(status_code=204, headers={"Allow": allowed(routes.routes, request.scope), **(headers or {})})

    routes.add_api_route(path, options, methods=["OPTIONS"], include_in_schema=False)


def add_slash_redirect(routes: APIRouter, path: str) -> None:
    """``path/`` moves permanently to ``path`` (308 keeps the method and the body)."""

    async def redirect(request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{PREFIX}{path}{query}", 308)

    methods = ["GET", "HEAD", "POST", "OPTIONS"]
    routes.add_api_route(f"{path}/", redirect, methods=methods, include_in_schema=False)


def allowed(routes: Iterable[BaseRoute], scope: MutableMapping[str, Any]) -> str:
    """The methods of all routes that match the path, as `Allow` takes them."""
    methods: set[str] = set()
    for route in routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods.update(getattr(route, "methods", None) or ())
    return ", ".join(sorted(methods))


def _unrouted_problem(request: Request, error: HTTPException, routes: Iterable[BaseRoute]) -> Problem:
    path = request.url.path
    if error.status_code == 405:
        allow = allowed(routes, request.scope)
        detail = f"{path} does not take {request.method}; it takes {allow}"
        return Problem(405, Code.METHOD_NOT_ALLOWED, detail, {"Allow": allow})
    if error.status_code == 404:
        return not_found(f"there is nothing at {path}; /docs lists the resources")
    code = Code.INVALID_ARGUMENT if error.status_code < 500 else Code.INTERNAL
    return Problem(error.status_code, code, str(error.detail))
