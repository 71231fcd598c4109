"""`/metrics` of the gateway: every route it serves, by template, with errors and durations."""

from __future__ import annotations

import re
import time


def counted(gateway, metric: str, route: str, **labels: str) -> float:
    """The sum of a metric over all series of a route."""
    wanted = [f'route="{route}"', *(f'{name}="{value}"' for name, value in labels.items())]
    lines = gateway("GET", "/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith(f"{metric}{{") and all(label in line for label in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def eventually(condition) -> None:
    """A request is counted when its reply has been sent, which its caller may notice first."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_requests_of_both_halves_are_counted(gateway, digit):
    """The protocol's routes and the app server's stand in one table, under the names of their routes."""
    for route, method, path, body in (
        ("infer", "POST", "/v2/models/digits/infer", digit),
        ("/api/models/{name}", "GET", "/api/models/digits", None),
        ("/docs", "GET", "/docs", None),
        ("/static", "GET", "/static/docs.js", None),
    ):
        before = counted(gateway, "crossover_requests_total", route)
        assert gateway(method, path, body).status == 200
        eventually(lambda route=route, before=before: counted(gateway, "crossover_requests_total", route) == before + 1)
        assert counted(gateway, "crossover_request_duration_seconds_count", route) == before + 1


def test_errors_are_counted_by_code(gateway):
    """An error under /api counts as one, with the code that its status means."""
    route = "/api/models/{name}"
    before = counted(gateway, "crossover_errors_total", route, code="NOT_FOUND")
    assert gateway("GET", "/api/models/nope").status == 404
    eventually(lambda: counted(gateway, "crossover_errors_total", route, code="NOT_FOUND") == before + 1)


def test_made_up_paths_make_no_time_series(gateway):
    """Whatever is asked for, the number of routes in the table stays small."""
    for number in range(20):
        gateway("GET", f"/made-up-{number}")
        gateway("GET", f"/api/predictions/made-up-{number}")
    routes = set(re.findall(r'route="([^"]*)"', gateway("GET", "/metrics").body.decode()))
    assert not [route for route in routes if "made-up" in route]
    assert "unknown" in routes
