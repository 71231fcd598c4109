"""Where a result comes from: machine, versions, settings, seeds; enough to run it again and to doubt it in detail."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from crossover.model_server import release as onnxruntime_release
from crossover.transport.grpcio import poller as grpc_poller
from crossover.transport.grpcio import release as grpcio_release
from crossover.transport.release_guard import FastPath

_PACKAGES = (
    "grpcio", "protobuf", "onnxruntime", "numpy", "orjson", "fastapi", "starlette", "uvicorn", "uvloop", "httptools",
    "aiohttp", "httpx", "h2", "hypercorn", "pydantic", "scipy", "matplotlib",
)  # fmt: skip
_SYSCTLS = (
    "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_slow_start_after_idle", "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem",
    "net/core/somaxconn", "kernel/sched_autogroup_enabled", "kernel/perf_event_paranoid",
)  # fmt: skip

_FAST_PATHS = tuple(
    path
    for module in (grpcio_release, onnxruntime_release)
    for path in vars(module).values()
    if isinstance(path, FastPath)
)


def provenance(command: str, seed: int) -> dict[str, Any]:
    """Everything known of this machine and checkout that could matter."""
    return {
        "command": command,
        "seed": seed,
        "python": sys.version.split()[0],
        "implementation": platform.python_implementation(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "clocksource": _text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "hypervisor": _text("/sys/hypervisor/type") or ("yes" if "hypervisor" in _cpu_flags() else "none seen"),
        "protobuf_runtime": _protobuf_runtime(),
        "event_loop": "uvloop in the services",
        "grpc_experiments": os.environ.get("GRPC_EXPERIMENTS", ""),
        "grpc_poller": os.environ.get(grpc_poller.VARIABLE, ""),
        "fast_paths": {path.name: path.on for path in _FAST_PATHS},
        "socket_options": "TCP_NODELAY on every connection",
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "sysctls": {name: value for name in _SYSCTLS if (value := _text(f"/proc/sys/{name}"))},
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(path: str) -> str:
    try:
        return " ".join(Path(path).read_text().split())
    except OSError:
        return ""


def _cpuinfo(field: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    return _cpuinfo("flags").split()


def _protobuf_runtime() -> str:
    from google.protobuf.internal import api_implementation

    return str(api_implementation.Type())


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        run = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
