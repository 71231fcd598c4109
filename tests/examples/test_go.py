"""The Go client builds with Debian's packages, by the commands of its page, and gets what the others get."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from crossover.stack.services import running
from tests.examples.missing import go_is_missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


if reason := go_is_missing():
    pytestmark.append(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """The client, made by the page's own commands (but for installing and running) in a copy of the folder."""
    folder = tmp_path_factory.mktemp("go")
    here = folder / "examples" / "go"
    shutil.copytree(root / "examples" / "go", here, ignore=shutil.ignore_patterns("gopath", "client"))
    (folder / "protos").symlink_to(root / "protos")
    page = re.findall(r"^    (.+)$", (here / "README.md").read_text("utf-8"), re.MULTILINE)
    steps = [line for line in page if not line.startswith(("apt-get", "GRPC="))]
    done = subprocess.run(
        ["sh", "-e", "-c", "\n".join(steps)], cwd=here, capture_output=True, text=True, timeout=500,
        env={**os.environ, "GOCACHE": str(folder / "cache"), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return here / "client"


def test_it_gets_the_same(built, tmp_path):
    """Scores of a digit, a stream in order, and the status of a model that there is not."""
    with (tmp_path / "log").open("wb") as log, running({"DATA_DIR": str(tmp_path)}, log) as stack:
        done = subprocess.run(
            [built], capture_output=True, text=True, timeout=60, env={**os.environ, "GRPC": stack.grpc_target}
        )
    assert done.returncode == 0, done.stderr
    scores, stream, missing = map(json.loads, done.stdout.splitlines())
    assert len(scores["scores"]) == 10 and sum(scores["scores"]) == pytest.approx(1, abs=1e-5)
    assert stream == {"stream": ["1", "2", "3"]}
    assert missing == {"code": "NotFound", "details": "Request for unknown model: 'nope' is not found"}
