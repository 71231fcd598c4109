"""What the Makefile promises before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

FROM_AN_OUTER_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
WITHOUT_VENV = """#!/bin/sh
case "$*" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac
"""
TOO_OLD = """#!/bin/sh
exit 1
"""
PIP_THAT_FAILS = """#!/bin/sh
echo no such package >&2
exit 1
"""
PRINTS_ITS_SETTINGS = """#!/bin/sh
if [ "$*" = "-m stack" ]; then env | grep ^GATEWAY_; fi
"""


@pytest.fixture
def checkout(root, tmp_path):
    """A checkout with the Makefile and the requirements, and nothing installed."""
    shutil.copy(root / "Makefile", tmp_path)
    shutil.copytree(root / "requirements", tmp_path / "requirements")
    return tmp_path


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(folder, *arguments, **settings):
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in FROM_AN_OUTER_MAKE and not name.startswith("GATEWAY_")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**kept, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_bare_make_lists_every_target(checkout):
    """Each target that people use stands in the list with what it does, one a line."""
    listed = make(checkout).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (checkout / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  make {target} +\w.+$", listed, re.MULTILINE), target


@pytest.mark.parametrize(
    ("interpreter", "sentence"), [(WITHOUT_VENV, "python3-venv"), (TOO_OLD, "is not Python 3.11 or later")]
)
@pytest.mark.parametrize("target", ["run", "test"])
def test_an_interpreter_that_cannot_do_it_is_one_sentence(checkout, target, interpreter, sentence):
    """Without the venv module, or with an old Python, make says so before anything is installed, and fails."""
    python = script(checkout / "bin" / "python3", interpreter)
    done = make(checkout, target, PYTHON=str(python))
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(ours) == 1
    assert sentence in ours[0]
    assert not (checkout / ".venv").exists()


def test_a_failed_installation_is_tried_again(checkout):
    """An installation that fails stops make, and the next make does not take it for done."""
    script(checkout / ".venv" / "bin" / "pip", PIP_THAT_FAILS)
    assert make(checkout, ".venv/.serve").returncode != 0
    script(checkout / ".venv" / "bin" / "pip", "#!/bin/sh\n")
    again = make(checkout, ".venv/.serve")
    assert again.returncode == 0
    assert "installing requirements/serve.txt" in again.stdout
    assert make(checkout, ".venv/.serve").stdout == "make: '.venv/.serve' is up to date.\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GATEWAY_REPOSITORY_CONTROL": "1", "GATEWAY_UPSTREAM_HEADER": "1", "GATEWAY_TIMING": "1"}),
        (
            {"GATEWAY_TIMING": "0", "GATEWAY_PORT": "9090"},
            {
                "GATEWAY_REPOSITORY_CONTROL": "1",
                "GATEWAY_UPSTREAM_HEADER": "1",
                "GATEWAY_TIMING": "0",
                "GATEWAY_PORT": "9090",
            },
        ),
    ],
)
@pytest.mark.parametrize("way", ["environment", "make's own"])
def test_what_is_given_to_make_run_wins(checkout, given, expected, way):
    """`make run` sets three settings only where neither the environment nor make's command line does."""
    for name in ("pip", "python"):
        script(checkout / ".venv" / "bin" / name, PRINTS_ITS_SETTINGS)
    (checkout / ".venv" / ".serve").touch()
    pairs = [f"{name}={value}" for name, value in given.items()]
    done = make(checkout, "run", **given) if way == "environment" else make(checkout, "run", *pairs)
    assert done.returncode == 0, done.stderr
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == expected
