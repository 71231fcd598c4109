"""What a machine lacks that an example needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from crossover.comparison.fleet import envoy
from crossover.comparison.lab import wires

ROOT = Path(__file__).parents[2]


def go_is_missing() -> str:
    """Why Go with gRPC cannot be tried here; empty where it can."""
    missing = [tool for tool in ("go", "protoc", "protoc-gen-go") if shutil.which(tool) is None]
    if missing or not Path("/usr/share/gocode/src/google.golang.org/grpc").exists():
        return "Debian's Go with gRPC is missing: apt-get install golang-go golang-google-grpc-dev protobuf-compiler protoc-gen-go-1-3"
    told = subprocess.run(["protoc-gen-go", "--version"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return "protoc-gen-go is newer than Debian's gRPC takes: apt-get install protoc-gen-go-1-3" if told.stdout else ""


def node_is_missing() -> str:
    """Why the Node.js pair cannot be tried; empty where it can."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    return "Node.js is missing; on Debian: apt-get install nodejs npm" if missing else ""


def java_is_missing() -> str:
    """Likewise Java."""
    jars = [f"/usr/share/java/{name}.jar" for name in ("grpc-netty", "netty-all", "perfmark-api", "gson", "protobuf")]
    tools = ("javac", "java", "protoc", "grpc_java_plugin")
    if any(shutil.which(tool) is None for tool in tools) or not all(map(Path.exists, map(Path, jars))):
        return (
            "Debian's Java with gRPC is missing: apt-get install default-jdk-headless libgrpc-java libnetty-java libperfmark-java "
            "libgoogle-gson-java libprotobuf-java protobuf-compiler protobuf-compiler-grpc-java-plugin"
        )
    return ""


def etcd_is_missing() -> str:
    """Likewise etcd."""
    return "" if shutil.which("etcd") else "etcd is missing: apt-get install etcd-server"


def envoy_is_missing() -> str:
    """Likewise Envoy."""
    return "" if envoy.found() else "Envoy is missing: .venv/bin/pip install -r requirements/fleet.txt"


def triton_is_missing() -> str:
    """Likewise Triton."""
    if (ROOT / ".venv-triton" / "bin" / "python").exists():
        return ""
    return "Triton is missing: python3 -m venv .venv-triton && .venv-triton/bin/pip install nvidia-pytriton"


def connect_is_missing() -> str:
    """Likewise connectrpc."""
    return wires.missing("connect")
