"""What a machine lacks that an example needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def go_is_missing() -> str:
    """Why Go with gRPC cannot be tried here; empty where it can."""
    missing = [tool for tool in ("go", "protoc", "protoc-gen-go") if shutil.which(tool) is None]
    if missing or not Path("/usr/share/gocode/src/google.golang.org/grpc").exists():
        return "Debian's Go with gRPC is missing: apt-get install golang-go golang-google-grpc-dev protobuf-compiler protoc-gen-go-1-3"
    told = subprocess.run(["protoc-gen-go", "--version"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return "protoc-gen-go is newer than Debian's gRPC takes: apt-get install protoc-gen-go-1-3" if told.stdout else ""
