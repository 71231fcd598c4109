"""A wheel built from the checkout holds `crossover` alone and works where nothing else of the checkout is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile

import pytest

from crossover.stack.services import free_ports


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Built from what git tracks, in a folder of its own, without the network."""
    source = tmp_path_factory.mktemp("source")
    archive = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    names = [name.decode() for name in archive if name and (root / name.decode()).exists()]
    packed = subprocess.run(["tar", "-c", *names], cwd=root, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=source, input=packed, check=True)
    built = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", built],
        cwd=source, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = built.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel; its dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(theirs + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", "-q", wheel],
        check=True, timeout=100,
    )  # fmt: skip
    return folder / "bin"


def clean(tmp_path, **more):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "HOME": str(tmp_path), **more}


def test_nothing_else_is_installed(wheel):
    """Site-packages get `crossover` and its metadata, no `clients` or `tests` of everybody's."""
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"crossover"}
    for name in ("models/digits/1/model.onnx", "protos/inference.binpb", "rest_gateway/page/static/index.html",
                 "comparison/report/korean.json", "comparison/report/page.css", "rest_gateway/static/docs.css",
                 "rest_gateway/predictions/migrations/versions/0001_predictions.py", "deploy/ray/serving.py"):  # fmt: skip
        assert f"crossover/{name}" in names


def test_the_native_parts_are_built(wheel, root):
    """Each C source becomes a module of the wheel, where there is a compiler."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler (Debian: gcc)")
    with zipfile.ZipFile(wheel) as files:
        built = {name.split("/")[-1].partition(".")[0] for name in files.namelist() if name.endswith(".so")}
    assert built == {f"_{source.stem}" for source in (root / "protocol" / "native").glob("*.c")}


def test_it_runs_and_answers(installed, tmp_path):
    """`crossover run` in an empty folder serves the committed models, and `crossover infer` asks them over every wire."""
    rest, grpc, gateway = free_ports(3)
    ports = {"MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc), "GATEWAY_PORT": str(gateway)}
    environment = clean(tmp_path, **ports)
    running = subprocess.Popen(
        [installed / "crossover", "run"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{gateway}/v2/health/ready", timeout=5) as reply:
                    assert reply.status == 200
                    break
            except OSError:
                assert running.poll() is None and time.monotonic() < until
                time.sleep(0.2)
        body = json.dumps(
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}]}
        ).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{gateway}/v2/models/digits/infer", body, timeout=10) as reply:
            assert json.load(reply)["model_name"] == "digits"
        page = urllib.request.Request(f"http://127.0.0.1:{gateway}/", headers={"Accept": "text/html"})
        with urllib.request.urlopen(page, timeout=10) as reply:
            assert b"<html" in reply.read()
        asked = subprocess.run(
            [installed / "crossover", "infer", "digits", "--wire", "all", "--calls", "1", "--sample", "3"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert asked.returncode == 0, asked.stderr
        assert "true label of sample 3: 3" in asked.stdout
    finally:
        running.terminate()
        assert running.wait(30) == 0
    assert (tmp_path / ".local" / "share" / "crossover").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("version",), 0, "crossover "),
        (("--version",), 0, "crossover "),
        ((), 0, "usage: crossover COMMAND"),
        (("serve", "--help"), 0, "usage: crossover serve"),
        (("completion", "bash"), 0, "complete -o default -F _crossover"),
        (("completion", "fish"), 2, "takes a shell: bash or zsh"),
        (("explode",), 2, "there is no command 'explode'"),
    ],
)
def test_one_command_for_all(installed, tmp_path, arguments, code, said):
    """`crossover` lists what there is, tells its version, and refuses what it does not know in one sentence."""
    done = subprocess.run(
        [installed / "crossover", *arguments],
        cwd=tmp_path,
        env=clean(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert said in (done.stdout if code == 0 else done.stderr)
    assert "Traceback" not in done.stderr
