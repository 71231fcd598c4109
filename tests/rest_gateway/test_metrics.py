"""`/metrics` of the gateway: every route it serves, by template, with errors and durations."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

import pytest

from crossover import VERSION
from tests.rest_gateway.conftest import ask


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


@pytest.fixture(scope="module")
def scraped(stack, samples):
    """`/metrics` of both services after a request, a refused one and a prediction."""
    digit = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": samples[0]["inputs"]}]}
    for upstream in ("grpc", "rest"):
        ask(stack.gateway_url, "POST", "/v2/models/digits/infer", digit, Inference_Upstream=upstream)
    ask(stack.gateway_url, "POST", "/v2/models/digits/infer", b"{")
    ask(stack.gateway_url, "POST", "/api/predictions", {"model": "digits", **digit})
    return {
        name: ask(url, "GET", "/metrics").body.decode()
        for name, url in (("gateway", stack.gateway_url), ("model server", stack.rest_url))
    }


def test_promtool_has_nothing_to_say(scraped):
    """Names, types and help are as Prometheus' own linter wants them, but for the names that Triton has made."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; on Debian it is in the package prometheus")
    said = []
    for text in scraped.values():
        done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
        said += (done.stdout + done.stderr).decode().splitlines()
        assert done.returncode in (0, 3), said
    assert [line for line in said if line and not line.startswith("nv_inference_")] == []


def test_every_sample_has_a_type(scraped):
    """No series is untyped but Triton's cache counters; a type is said once."""
    for text in scraped.values():
        types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        assert len(dict(types)) == len(types)
        untyped = {name for name, kind in types if kind == "untyped"}
        assert all(name.startswith("nv_cache_") for name in untyped)
        named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"^(\w+)[{ ]", text, re.MULTILINE)}
        assert named <= {re.sub(r"_count$", "", name) for name, _ in types}


def test_what_runs_and_how_busy_it_is_stands_there(scraped):
    """Version, process, event loop, admission and memory of both; the queue of the model server; the gateway's upstreams."""
    both = (
        "crossover_build_info{", "process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ",
        "crossover_event_loop_lag_seconds ", "crossover_admission_refused_total ", "crossover_in_flight_bytes ",
        "crossover_in_flight_limit_bytes ", 'crossover_connections{wire="rest"}',
    )  # fmt: skip
    for name in both:
        assert all(f"\n{name}" in text for text in scraped.values()), name
    for name in ("crossover_model_queue_length{", "crossover_workers ", "nv_inference_pending_request_count{"):
        assert f"\n{name}" in scraped["model server"], name
    assert f'version="{VERSION}"' in scraped["gateway"]
    for upstream in ("grpc", "rest"):
        assert re.search(
            rf'^crossover_requests_total{{model="digits",route="infer",upstream="{upstream}",wire="rest"}} \d',
            scraped["gateway"],
            re.MULTILINE,
        )
    assert 'upstream="' not in scraped["model server"]
