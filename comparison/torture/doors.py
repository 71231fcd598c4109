"""Who may do what, asked at both services' HTTP ports and at the gRPC port."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from crossover.comparison.torture.attack import IDENTITY, SMALL
from crossover.comparison.torture.ground import TortureError, ask
from crossover.comparison.torture.promise import Figure, Promise, Values
from crossover.protos import inference as pb
from crossover.stack.services import ROOT

if TYPE_CHECKING:
    from crossover.comparison.torture.ground import Ground

UNLOAD = "/v2/repository/models/identity/unload"
_ORIGIN = {"Origin": "http://evil.example"}
_OTHER_SITE = {"Sec_Fetch_Site": "cross-site"}


def keys(folder: Path) -> dict[str, str]:
    """An API key file with one key, which the gateway has for the model server; the settings that name them."""
    path, own = folder / "keys", folder / "own"
    command = [sys.executable, "-m", "rest_gateway", "keys", "add", "torture", "--scopes", "infer,control"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "API_KEYS_FILE": str(path)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise TortureError(f"no API key could be made: {done.stderr.strip()}")
    own.touch(0o600)
    own.write_text(done.stdout.strip())
    return {"API_KEYS_FILE": str(path), "UPSTREAM_API_KEY_FILE": str(own), "GATEWAY_REPOSITORY_CONTROL": "1"}


def _key(ground: Ground) -> str:
    return "Bearer " + (ground.folder / "own").read_text().strip()


def _statuses(expected: int, found: Values) -> Figure:
    wrong = {name: status for name, status in found.items() if status != expected}
    named = ", ".join(f"{status:.0f} for {name}" for name, status in wrong.items())
    return Figure(not wrong, named or f"{expected} on {len(found)} of {len(found)}", found)


def _at_both(ground: Ground, asked: dict[str, tuple[str, bytes | None, dict[str, str]]]) -> Values:
    """The statuses of requests with a good key at both HTTP ports."""
    key = _key(ground)
    return {
        f"{name} at the {where}": float(ask(port, path, body, 10, **({"Authorization": key} | fields))[0])
        for where, (port, _) in ground.http_ports.items()
        for name, (path, body, fields) in asked.items()
    }


def _refused(expected: int, asked: dict[str, tuple[str, bytes | None, dict[str, str]]], ground: Ground) -> Figure:
    return _statuses(expected, _at_both(ground, asked))


def _no_key(ground: Ground) -> Figure:
    """Without a key and with a wrong one: 401 and UNAUTHENTICATED; with the right one, and for health, served."""
    found: Values = {}
    for where, (port, _) in ground.http_ports.items():
        for name, fields in (("no key", {}), ("a wrong key", {"Authorization": "Bearer wrong"})):
            found[f"{name} at the {where}"] = float(ask(port, IDENTITY, SMALL, 10, **fields)[0])
    found["no key over gRPC"] = 401.0 if _grpc_code(ground, ()) is grpc.StatusCode.UNAUTHENTICATED else 200.0
    served = _at_both(ground, {"the right key": (IDENTITY, SMALL, {})})
    health = {where: ask(port, "/v2/health/live", None, 10)[0] for where, (port, _) in ground.http_ports.items()}
    right = {name: status for name, status in {**served, **health}.items() if status != 200}
    if right:
        return Figure(False, f"not served with the right key, or without one for health: {right}", found)
    return _statuses(401, found)


def _grpc_code(ground: Ground, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    method = pb.METHODS["ModelMetadata"]
    with grpc.insecure_channel(f"127.0.0.1:{ground.grpc_port}") as channel:
        call: Callable[..., object] = channel.unary_unary(
            f"/{pb.SERVICE}/ModelMetadata", lambda message: message.SerializeToString(), method.response.FromString
        )
        try:
            call(method.request(name="identity"), metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


PROMISES = (
    Promise(
        "doors.origins", "what changes something, from a page of another site: 403",
        partial(_refused, 403, {"a foreign Origin": (UNLOAD, b"{}", _ORIGIN), "a cross-site fetch": (UNLOAD, b"{}", _OTHER_SITE)}),
    ),
    Promise(
        "doors.hosts", "a Host that is none of ours (DNS rebinding): 421",
        partial(_refused, 421, {"a foreign Host": (IDENTITY, SMALL, {"Host": "evil.example"})}),
    ),
    Promise("doors.keys", "no API key, or a wrong one: 401, over gRPC UNAUTHENTICATED; health needs none", _no_key),
)  # fmt: skip
