"""What the Makefile promises before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

FROM_AN_OUTER_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
WITHOUT_VENV = """#!/bin/sh
case "$*" in *ensurepip*) exit 1 ;; *) exit 0 ;; esac
"""
TOO_OLD = """#!/bin/sh
exit 1
"""
PIP_THAT_FAILS = """#!/bin/sh
echo "Collecting numpy==2.4.6"
echo "ERROR: {complaint}"
exit 1
"""
PIP_THAT_HANGS = """#!/bin/sh
exec sleep 60
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
    (line,) = ours(done)
    assert sentence in line
    assert not (checkout / ".venv").exists()


def environment(checkout, python):
    """An environment whose Python is a script."""
    script(checkout / ".venv" / "bin" / "pip", "#!/bin/sh\n")
    script(checkout / ".venv" / "bin" / "python", python)


def ours(done):
    return [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]


@pytest.mark.parametrize(
    ("complaint", "sentence"),
    [
        ("HTTPSConnectionPool(host='pypi.org', port=443): NewConnectionError", "the package index cannot be reached"),
        ("Temporary failure in name resolution", "the package index cannot be reached"),
        ("Could not find a version that satisfies the requirement numpy==2.4.6", "lacks a pinned version"),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "does not have the pinned hash"),
        ("[Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_why_an_installation_fails_is_one_sentence(checkout, complaint, sentence):
    """What pip says in many lines is one sentence that says what would help, and no line of pip's is shown."""
    environment(checkout, PIP_THAT_FAILS.format(complaint=complaint))
    done = make(checkout, ".venv/.serve", PATH="/usr/bin:/bin")
    assert done.returncode != 0
    (line,) = ours(done)
    assert sentence in line
    assert "Collecting" not in done.stdout


def test_what_will_be_installed_is_said_first(checkout):
    """How many packages, how large and about how long stands there before anything is fetched."""
    environment(checkout, "#!/bin/sh\n")
    said = make(checkout, ".venv/.serve", PATH="/usr/bin:/bin").stdout.splitlines()[0]
    pins = len(re.findall(r"^[\w.\[\],-]+==", (checkout / "requirements" / "serve.txt").read_text(), re.MULTILINE))
    assert re.fullmatch(
        rf"installing requirements/serve.txt into .venv \(once\): {pins} packages, some \d+ MB, about \d+ \w+", said
    )


def test_ctrl_c_while_installing_is_one_sentence(checkout):
    """SIGINT ends the installer and pip, and says how to go on, without a traceback."""
    environment(checkout, PIP_THAT_HANGS)
    with subprocess.Popen(
        [sys.executable, "requirements/install.py", "serve", ".venv"], cwd=checkout, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PATH": "/usr/bin:/bin"},
    ) as installing:  # fmt: skip
        assert "installing" in installing.stdout.readline()
        time.sleep(0.5)
        installing.send_signal(signal.SIGINT)
        _, said = installing.communicate(timeout=20)
    assert installing.returncode == 130
    assert said.strip() == "stopped; the same command goes on where this ended"


def test_ctrl_c_while_the_environment_is_made_is_one_sentence(checkout):
    """Like that while it is filled, and the next make makes it again: pip, the last that venv writes, is not there."""
    with subprocess.Popen(
        ["make", ".venv/bin/pip", f"PYTHON={sys.executable}"], cwd=checkout, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in FROM_AN_OUTER_MAKE},
    ) as making:  # fmt: skip
        for _ in range(200):
            if (checkout / ".venv").exists():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(making.pid, signal.SIGINT)
        _, said = making.communicate(timeout=20)
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("make: ***")]
    assert lines == ["stopped; the same command goes on where this ended"]
    assert not (checkout / ".venv" / "bin" / "pip").exists()


def test_a_failed_installation_is_tried_again(checkout):
    """An installation that fails stops make, and the next make does not take it for done."""
    environment(checkout, PIP_THAT_FAILS.format(complaint="no such package"))
    failed = make(checkout, ".venv/.serve")
    assert failed.returncode != 0
    assert "installing requirements/serve.txt failed: no such package" in failed.stderr
    environment(checkout, "#!/bin/sh\n")
    again = make(checkout, ".venv/.serve")
    assert again.returncode == 0
    assert "installing requirements/serve.txt" in again.stdout
    assert make(checkout, ".venv/.serve").stdout == "make: '.venv/.serve' is up to date.\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GATEWAY_REPOSITORY_CONTROL": "auto", "GATEWAY_UPSTREAM_HEADER": "1", "GATEWAY_TIMING": "1"}),
        (
            {"GATEWAY_TIMING": "0", "GATEWAY_PORT": "9090"},
            {
                "GATEWAY_REPOSITORY_CONTROL": "auto",
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


def test_the_contract_can_be_compiled_from_its_own_folder(root, tmp_path):
    """`protoc -I protos` and a buf module rooted there find every import; Go and Java packages are named."""
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    out = tmp_path / "set.binpb"
    folder = root / "protos"
    assert (
        protoc.main(
            ["protoc", f"-I{folder}", f"--descriptor_set_out={out}", "open_inference.proto", "model_config.proto"]
        )
        == 0
    )
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    assert all(file.options.go_package and file.options.java_package for file in files)
