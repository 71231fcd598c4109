"""The TypeScript clients are type-checked and run: gRPC by two libraries, and REST with types from the OpenAPI document."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from crossover.stack.services import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NEEDED = ("node", "npm")
if any(shutil.which(tool) is None for tool in NEEDED):
    pytestmark.append(pytest.mark.skip(reason="Node.js is missing; on Debian: apt-get install nodejs npm"))


@pytest.fixture(scope="module")
def npm(root, tmp_path_factory):
    """Run a script of package.json, in a copy of the folder with what its lock file pins, against services of its own."""
    folder = tmp_path_factory.mktemp("typescript")
    here = folder / "examples" / "typescript"
    shutil.copytree(root / "examples" / "typescript", here, ignore=shutil.ignore_patterns("node_modules", "gen"))
    (folder / "protos").symlink_to(root / "protos")

    def npm(*arguments: str, **environment: str) -> list:
        done = subprocess.run(
            ["npm", *arguments],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=400,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    npm("ci", "--no-audit", "--no-fund")
    settings = {"DATA_DIR": str(folder / "data")}
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        at = {"GATEWAY": stack.gateway_url, "GRPC": stack.grpc_target}
        npm("run", "-s", "generate")
        npm("run", "-s", "types", **at)
        yield lambda *arguments: npm(*arguments, **at)


def test_types_hold(npm):
    """The compiler takes the clients with the generated types, strictly."""
    npm("run", "-s", "check")


def test_every_client_gets_the_same(npm):
    """Each wire gives the same scores and, for a model that there is not, the same text; a stream answers in order."""
    grpc_js, connect, rest = (npm("run", "-s", name) for name in ("grpc-js", "connect", "rest"))
    scores = grpc_js[0]["scores"]
    assert connect[0]["scores"] == scores
    assert rest[0]["scores"] == pytest.approx(scores, rel=1e-6)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert connect[1] == {"stream": ["1", "2", "3"]}
    missing = "Request for unknown model: 'nope' is not found"
    assert grpc_js[1] == {"code": "NOT_FOUND", "details": missing}
    assert connect[2] == {"code": "NotFound", "details": missing}
    assert rest[2] == {"status": 404, "error": {"error": missing, "code": "NOT_FOUND"}}
    assert (rest[1]["status"], rest[1]["location"].startswith("/api/predictions/")) == (201, True)
