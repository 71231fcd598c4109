"""`make bench`: a short real run says what it should, and its arithmetic is right."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from crossover.comparison.__main__ import main
from crossover.comparison.bench import command, gateways, soak, table
from crossover.comparison.bench.measure import Figure
from crossover.comparison.bench.points import ENGINE, POINTS
from tests.programs import called


def test_every_floor_is_measured():
    """A ratio needs its floors: each is a point that is a floor itself, or the engine."""
    for point in POINTS.values():
        for floor in point.floor:
            assert floor in ENGINE.values() or not POINTS[floor].floor, point.name


def test_ratios_are_taken_within_a_round():
    """A slow minute hits a point and its floor alike, and so falls out."""
    point = POINTS["gRPC, x32"]
    slow, fast = (
        {
            point.name: Figure(300 * k, 0, 0),
            "grpc.aio, x32": Figure(140 * k, 0, 0),
            ENGINE["digits"]: Figure(10 * k, 0, 0),
        }
        for k in (3, 1)
    )
    assert table.ratio([slow, fast], point) == 2


def test_copies_count_what_the_image_costs_beyond_the_digits():
    point = POINTS["image, gRPC, x4"]
    found = {point.name: Figure(700, 0, 0), "gRPC, x32": Figure(200, 0, 0)}
    assert table.copies([found], point, copy_us=50) == 10
    assert table.copies([found], POINTS["image, REST JSON, x4"], copy_us=50) is None


def test_chosen_points_bring_their_floors():
    assert set(command.chosen("^gRPC, x1$")) == {"gRPC, x1", "grpc.aio, x1"}
    with pytest.raises(ValueError, match="matches none of"):
        command.chosen("nothing")


def test_a_short_run(root, tmp_path):
    """Real services, floors and callers; every figure is there and the table is printed."""
    out = tmp_path / "bench.json"
    points = "^(gRPC, x32|caller rest, x32)$"
    ran = subprocess.run(
        [sys.executable, "-m", "comparison", "bench", "--rounds", "1", "--slice", "0.05", "--points", points, "--out", out],
        cwd=root, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(out.read_text())["rounds"]
    assert set(command.chosen(points)) | set(ENGINE.values()) == set(found)
    assert all(figure["cpu_us"] > 0 for figure in found.values())
    assert "of its floor" in ran.stdout


def test_memory_that_grows_is_told_per_minute():
    """The slope leaves out what comes before memory has settled."""
    at = [
        (60.0 * minute, {"leaks": 10 + 3 * minute, "grows at first": 50 if minute >= 2 else 5}) for minute in range(11)
    ]
    assert soak.slope(at, "leaks") == pytest.approx(3)
    assert soak.slope(at, "grows at first") == pytest.approx(0)


@pytest.mark.slow
def test_a_short_soak(root, tmp_path):
    """Every path that is named is driven, and memory is told for each service."""
    out = tmp_path / "soak.json"
    ran = subprocess.run(
        [sys.executable, "-m", "comparison", "bench", "--soak", "0.01", "--slice", "0.02", "--out", out],
        cwd=root, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert set(soak.PATHS) <= set(POINTS)
    samples = json.loads(out.read_text())["pss_bytes"]
    assert len(samples) >= 3
    assert all(size > 1e6 for _, memory in samples for size in memory.values())
    assert "MB a minute" in ran.stdout


@pytest.mark.slow  # starts floors, services, and `make run`, and drives nine paths
def test_a_short_footprint(root, tmp_path):
    """Floors, services and `make run` are measured, and the services have more memory than what only imports."""
    out = tmp_path / "footprint.json"
    ran = subprocess.run(
        [sys.executable, "-m", "comparison", "bench", "--footprint", "--rounds", "1", "--slice", "0.02", "--out", out],
        cwd=root, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(out.read_text())["rounds"]
    assert 0 < found["floors_bytes"] < found["ready_bytes"] < found["loaded_bytes"]
    assert found["ready_bytes"] < found["idle_bytes"]
    assert min(found["floors_cpu_s"], found["ready_cpu_s"]) > 0
    assert found["first_s"] > 0
    assert "of the floors" in ran.stdout


def test_as_started_is_what_make_run_sets(root):
    """The row of the defaults measures the settings that the Makefile gives."""
    recipe = re.search(r"^run:.*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.MULTILINE)[1]
    assert gateways.AS_STARTED == dict(re.findall(r"(\w+)=\$\$\{\1:-(\w+)\}", recipe))


def test_each_row_says_what_it_varies_with():
    """grpcio wakes threads, one caller is all wake-ups, an image is copies, and TLS seals."""
    rows = {name: table.steps(point) for name, point in POINTS.items()}
    assert rows["gRPC, x32"] == rows["to grpc, x32"] == "PSW"
    assert rows["gRPC, lean port, x32"] == "PS"
    assert rows["REST JSON, x1"] == "WS"
    assert rows["image, REST binary, x4"] == "CM"
    assert rows["gateway with TLS, x32"][-1] == "T"


@pytest.mark.slow  # eight services
def test_every_option_is_measured(root, tmp_path):
    """A gateway for each option answers, with keys, TLS and a collector of traces, and has a ratio."""
    out = tmp_path / "options.json"
    ran = subprocess.run(
        [sys.executable, "-m", "comparison", "bench", "--rounds", "1", "--slice", "0.05", "--points", "^gateway ", "--out", out],
        cwd=root, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(out.read_text())
    assert {f"{name}, x32" for name in gateways.OPTIONS} < set(found["rounds"][0])
    assert found["calibration"]["syscall_ns"] > 0
    assert "S: a syscall" in ran.stdout


@pytest.mark.slow
def test_an_earlier_commit_is_measured_beside_this_checkout(root, tmp_path):
    """`--against COMMIT` starts that commit's services too and gives each point's figures on both sides."""
    out = tmp_path / "against.json"
    ran = subprocess.run(
        [sys.executable, "-m", "comparison", "bench", "--against", "HEAD", "--rounds", "1", "--slice", "0.05",
         "--points", "^(gRPC, x1|caller rest, x32)$", "--out", out],
        cwd=root, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads(out.read_text())["rounds"]
    assert list(found) == ["gRPC, x1"]
    assert all(figure["cpu_us"] > 0 for figure in found["gRPC, x1"])
    assert "This checkout against HEAD" in ran.stdout


def test_what_is_no_commit_is_refused():
    """A commit that git does not know is one sentence and exit code 2, before anything is started."""
    ran = called(main, "bench", "--against", "no-such-commit")
    assert ran.returncode == 2
    assert ran.stderr.startswith("--against 'no-such-commit' is not a commit of this checkout")
    assert len(ran.stderr.splitlines()) == 1
