"""What a start does not need it does not import: each line of the table was worth milliseconds and memory once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crossover.stack.services import free_ports

SUPERVISOR = {"argparse", "asyncio", "grpc", "ml_dtypes", "numpy", "pydantic", "sqlalchemy", "tomllib", "uvloop"}
BOTH = {
    "argparse", "crossover.service.workers.running", "crossover.service.workers.scrape",
    "opentelemetry", "prometheus_client", "pydantic", "tomllib",
}  # fmt: skip
MODEL_SERVER = BOTH | {
    "aiohttp", "crossover.endpoints.grpc.lean", "crossover.model_server.every_worker", "crossover.transport.grpc.server",
    "crossover.transport.http2.connection", "fastapi",
    "hpack", "importlib.metadata", "sqlalchemy",
}  # fmt: skip
GATEWAY = BOTH | {
    "aiohttp", "alembic", "anyio", "crossover.endpoints.grpc.lean", "crossover.model_server", "crossover.rest_gateway.openapi",
    "crossover.rest_gateway.page.routes", "fastapi", "hpack", "onnxruntime", "starlette",
}  # fmt: skip

WHEN_LIVE = """
import importlib, os, signal, socket, sys, threading, time

def is_live():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 1) as connection:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
            return b" 200 " in connection.recv(100)
    except OSError:
        return False

def tell():
    while not is_live():
        time.sleep(0.02)
    print(*sys.modules, sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=tell, daemon=True).start()
sys.exit(importlib.import_module(f"crossover.{sys.argv[1]}.__main__").main([]))
"""


def imported(root, program, *arguments, **environment):
    """The modules that a program names on its lines."""
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


def test_what_starts_both_services_is_small(root):
    """`make run`'s own process needs settings and sockets."""
    program = "from crossover.stack import ports, settings, supervisor; import sys; print(*sys.modules, sep='\\n')"
    modules = imported(root, program)
    assert "crossover.stack.supervisor" in modules
    assert modules & SUPERVISOR == set()


@pytest.mark.slow  # starts a service
@pytest.mark.parametrize(
    ("module", "port", "unneeded"),
    [("model_server", "MODEL_SERVER_HTTP_PORT", MODEL_SERVER), ("rest_gateway", "GATEWAY_PORT", GATEWAY)],
)
def test_a_service_with_its_defaults_has_nothing_that_it_does_not_need(root, tmp_path, module, port, unneeded):
    """From its start until it answers: no framework, no metrics, no second library for a wire."""
    http, grpc = free_ports(2)
    ports = {port: str(http), "MODEL_SERVER_GRPC_PORT": str(grpc), "DATA_DIR": str(tmp_path)}
    modules = imported(root, WHEN_LIVE, module, str(http), **ports)
    assert f"crossover.{module}.settings" in modules
    assert modules & unneeded == set()
