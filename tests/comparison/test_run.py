"""Small real runs: the whole way from the command line to summary and report, and what happens when something is wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from crossover.comparison import commands
from crossover.comparison.__main__ import main
from crossover.comparison.analysis.cost import Prices
from crossover.comparison.analysis.summary import CELL_FIELDS, SCHEMA
from tests.programs import called

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(400)  # a run of some seconds, on a machine whose other workers are at work too
SMALL = ("--payload", "256", "--blocks", "2", "--turns", "1", "--slice", "0.1", "--rate", "100")


def lab(*arguments, timeout=300):
    return subprocess.run(
        [sys.executable, "-m", "comparison", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("lab") / "run"
    arms = ("rest-binary", "grpc", "grpc-again", "control")
    done = lab("run", *SMALL, "--out", out, "--arms", *arms, "--fail-if", "ratio > 100")
    assert done.returncode in {0, 4}, done.stderr + done.stdout  # 4: by chance an A/A interval leaves out 1
    return out, done


def test_a_run_leaves_summary_report_samples_and_provenance(small_run):
    """A run of real services gives every file of the contract, and correct answers from every arm."""
    out, done = small_run
    summary = json.loads((out / "summary.json").read_text())
    assert summary["schema"] == SCHEMA
    assert summary["complete"] is True
    assert {"p50", "cpu", "wire_bytes", "message_bytes"} == {cell["metric"] for cell in summary["cells"]}
    assert all(set(CELL_FIELDS) <= cell.keys() for cell in summary["cells"])
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    assert json.loads((out / "provenance.json").read_text())["packages"]["grpcio"]
    assert "Verdict" in done.stdout


def test_what_a_cell_gets_is_said_before_it_is_measured(small_run):
    """Ten requests in each of two blocks, what interval they can give, what more takes; kept in the summary."""
    out, done = small_run
    (row,) = json.loads((out / "summary.json").read_text())["expected"]
    assert (row["pair"], row["requests"], row["blocks"], row["where"]) == (["grpc", "rest-binary"], 20, 2, "256 B")
    said = " ".join(done.stderr.split())
    assert (
        "At 256 B: 20 requests of each arm in 2 blocks; grpc / rest-binary can be expected to be known within " in said
    )
    assert said.index("requests of each arm") < said.index("measuring 2 blocks")


def test_the_hop_is_measured_without_a_gateway(tmp_path):
    """Our clients straight to the model server: the client's CPU is in the sum, every station is passed, answers are right."""
    from crossover.comparison.analysis import stages

    out = tmp_path / "run"
    done = lab("run", *SMALL, "--blocks", "1", "--view", "hop", "--out", out, "--arms", "rest-stock", "grpc")
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert "nothing is compared" in done.stderr
    assert any("nothing is compared" in note for note in summary["notes"])
    for row in summary["arms"]:
        assert row["requests"] == row["answered"] > 0
        assert set(row["cpu_us"]) == {"client", "model server", "generator"}
        assert min(row["cpu_us"].values()) > 0
        assert row["wire_bytes"] > row["message_bytes"]
    lines = [json.loads(line) for line in (out / "samples" / "stages.jsonl").read_text().splitlines()]
    assert all(stages.is_ordered(line["stamps"]) for line in lines if line["arm"] == "grpc")


@pytest.mark.slow
def test_the_hop_goes_over_tls(tmp_path):
    """With --tls every arm answers rightly, and what is said of TLS is no longer that it was not measured."""
    out = tmp_path / "run"
    done = lab("run", *SMALL, "--blocks", "1", "--tls", "--out", out, "--arms", "rest-binary", "grpc")
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert all(cell["tls"] for cell in summary["cells"])
    assert summary["cells"]
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    assert "TLS" not in " ".join(summary["not_measured"])


def test_bytes_are_counted_on_the_wire(small_run):
    """TCP carried each message and what HTTP adds to it: more than the message, and not much more."""
    summary = json.loads((small_run[0] / "summary.json").read_text())
    for row in summary["arms"]:
        assert row["message_bytes"] > 2 * 256
        assert row["message_bytes"] < row["wire_bytes"] < row["message_bytes"] + 1500


@pytest.mark.slow
def test_the_known_delay_is_in_every_request_of_the_control(small_run):
    """No request of the control took less than the delay, and the summary tells what was found of it."""
    from crossover.comparison.design import outcomes as out
    from crossover.comparison.design import samples

    found = samples.read(small_run[0])
    tables = [table for line, table in found.slices if line.arm == "control"]
    assert tables
    assert all((table[:, out.DONE] - table[:, out.SENT] >= found.experiment.busy_ns[0]).all() for table in tables)
    summary = json.loads((small_run[0] / "summary.json").read_text())
    assert {item["metric"] for item in summary["controls"]["known_delay"]} == {"alone", "alone_cpu"}


def test_stages_add_up_to_what_the_client_saw(small_run):
    """Every station was passed in order, and the stages sum to the time between the client's send and its reply."""
    from crossover.comparison.analysis import stages

    lines = [json.loads(line) for line in (small_run[0] / "samples" / "stages.jsonl").read_text().splitlines()]
    assert {line["arm"] for line in lines} == {"rest-binary", "grpc"}
    for line in lines:
        stamps = line["stamps"]
        assert stages.is_ordered(stamps)
        assert "server.started" in stamps
        whole = (stamps["client.done"] - stamps["client.sent"]) / 1e6
        assert sum(stages.of_request(stamps).values()) == pytest.approx(whole, rel=1e-6)


def test_the_report_is_made_again_from_the_samples(small_run):
    """`report` gives the same summary and the same page from the raw samples alone; CSV comes with --csv."""
    out, _ = small_run
    before = (out / "summary.json").read_text(), (out / "report.html").read_text()
    again = called(main, "report", out, "--csv")
    assert again.returncode == 0, again.stderr
    assert ((out / "summary.json").read_text(), (out / "report.html").read_text()) == before
    assert (out / "cells.csv").read_text().startswith("view,")


def test_a_run_is_never_mixed_with_another(small_run):
    """A folder that holds a run is refused, and what it holds stays as it is."""
    out, _ = small_run
    before = (out / "samples" / "slices.jsonl").read_text()
    done = called(main, "run", *SMALL, "--out", out)
    assert done.returncode == 2
    assert "holds a run already" in done.stderr
    assert (out / "samples" / "slices.jsonl").read_text() == before


def test_diff_of_a_run_with_itself_shows_no_change(small_run):
    """Nothing changed between a run and itself."""
    out, _ = small_run
    shown = called(main, "diff", out, out)
    assert shown.returncode == 0, shown.stderr
    assert " yes " not in shown.stdout
    assert "rest-binary" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "nothing"), "model 'nothing' is not in"),
        (("--repository", "/nowhere/at/all"), "is not a folder"),
        (("--arms", "carrier-pigeon"), "'carrier-pigeon' is not an arm"),
        (("--fail-if", "colour = red"), "'colour' is not a field"),
        (("--view", "hop", "--arms", "inprocess", "grpc"), "has no hop to measure"),
        (("--goal", "0"), "--goal takes values"),
        (("--tls", "--arms", "rest-stock", "grpc"), "which have no TLS"),
        (("--load", "7"), "--load takes values"),
        (("--request", "/nowhere.json"), "'/nowhere.json' cannot be read"),
        (("--network", "loopback", "--arms", "carrier-pigeon"), "'carrier-pigeon' is not an arm"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, said, tmp_path, capsys):
    """Bad input ends with exit code 2 and one sentence that names it, before anything is started."""
    assert main(["run", *SMALL, "--out", str(tmp_path / "run"), *arguments]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert said in sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--grpc", "127.0.0.1:9"), "does not answer over grpc"),
        (("--rest", "http://127.0.0.1:9"), "does not answer over rest"),
        (("--model", "digits", "--payload", "1"), "takes 256 bytes, not 1"),
    ],
)
def test_what_turns_out_to_be_impossible_is_one_sentence(arguments, said, tmp_path):
    """What only the services can tell ends likewise; no traceback."""
    done = called(main, "run", *SMALL, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr.strip().splitlines()[-1]


def test_a_full_disk_is_told_before_measuring(monkeypatch, tmp_path):
    """With too little room for a run's files nothing is started."""
    from argparse import ArgumentParser

    from crossover.comparison import options

    parser = ArgumentParser()
    options.add_arguments(parser)
    monkeypatch.setattr(options.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5 << 20}))
    with pytest.raises(options.UsageError, match="only 5 MB are free"):
        options.checked(parser.parse_args([]), tmp_path / "run")


def test_a_disk_that_fills_up_meanwhile_ends_the_run(monkeypatch, tmp_path, capsys):
    """Exit code 1 and one sentence, since what was measured is there; the state still says that the run is not whole."""
    (tmp_path / "samples").mkdir()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
    run = SimpleNamespace(measure=lambda: None, measured=3, stopped="", wrong=False)
    monkeypatch.setattr(commands, "Run", lambda *_: run)
    monkeypatch.setattr(commands.calibration, "calibration", Mock(side_effect=full))
    course = SimpleNamespace(out=tmp_path, prices=Prices(), seed=1, outputs=(), fail_if=[])
    assert commands.measured(course, None, ["run"]) == commands.FAILED
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"'{tmp_path}' takes no more: No space left on device; `report` reads what it holds")
    assert json.loads((tmp_path / "state.json").read_text())["stopped"]


@pytest.mark.slow
def test_a_rule_that_holds_gives_exit_code_three(small_run, tmp_path):
    """--fail-if over a measured fact (gRPC's messages are smaller than twice REST's) ends with 3."""
    out = tmp_path / "run"
    rule = "ratio < 2 where metric = message_bytes"
    arms = ("--arms", "rest-binary", "grpc")
    done = lab("run", *SMALL, "--blocks", "1", "--out", out, *arms, "--fail-if", rule)
    assert done.returncode == 3, done.stderr
    assert "--fail-if holds" in done.stderr


@pytest.mark.slow
def test_a_reply_of_another_size_than_its_request(tmp_path):
    """--reply with the model that gives as many bytes as it is asked for; the report says so."""
    out = tmp_path / "run"
    asked = (
        "--model",
        "sized",
        "--payload",
        "1024",
        "--reply",
        "50000",
        "--view",
        "hop",
        "--arms",
        "rest-binary",
        "grpc",
    )
    done = lab("run", "--blocks", "1", "--turns", "1", "--slice", "0.1", "--rate", "100", *asked, "--out", out)
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert summary["reply_bytes"] == 50000
    assert all(51_000 < row["message_bytes"] < 52_000 for row in summary["arms"])
    assert "replies of 48.8 KB" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--reply", "10"), "--reply goes with --model sized"),
        (("--work", "10", "--model", "sized"), "--work goes with --model work"),
        (("--work", "0", "--model", "work"), "--work takes values from 1 to 1000000"),
    ],
)
def test_a_wish_that_the_model_knows_nothing_of_is_refused(given, said, tmp_path, capsys):
    """One sentence and exit code 2, before anything is started."""
    assert main(["run", *given, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_keeps_what_was_measured_and_stops_everything(tmp_path):
    """SIGINT in the middle: exit code 1, a summary that says it is not complete, and no process left."""
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "comparison",
        "run",
        *SMALL[:2],
        "--blocks",
        "50",
        "--slice",
        "0.2",
        "--rate",
        "100",
    ]
    with subprocess.Popen(
        [*command, "--out", str(out), "--arms", "rest-binary", "grpc"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        until = time.monotonic() + 100
        slices = out / "samples" / "slices.jsonl"
        while not (slices.exists() and len(slices.read_text().splitlines()) >= 5):
            assert time.monotonic() < until
            time.sleep(0.1)
        children = _children(running.pid)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=120)
        assert running.returncode == 1, said.decode()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["complete"], summary["stopped"]) == (False, "interrupted")
    assert (out / "report.html").exists()
    assert children
    until = time.monotonic() + 10
    while left := [pid for pid in children if _alive(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.1)


def _children(pid):
    from crossover.comparison.machine.cpu import family

    return [child for child in family(pid) if child != pid]


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_services_of_somebody_else_are_compared_by_the_hop(tmp_path):
    """--rest and --grpc compare the two wires of a running service, with answers checked and without its CPU."""
    from crossover.stack.services import running

    with running({"LOG_LEVEL": "error", "DATA_DIR": str(tmp_path / "data")}) as stack:
        done = lab("run", *SMALL, "--out", tmp_path / "run", "--rest", stack.rest_url, "--grpc", stack.grpc_target)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all(row["answered"] == row["requests"] for row in summary["arms"])
    assert all(set(row["cpu_us"]) == {"client", "generator"} for row in summary["arms"])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_that_a_hangup_ended_goes_on_with_new_blocks(tmp_path):
    """SIGHUP is as SIGTERM: exit code 1, not complete. `--continue` adds blocks with seeds of their own, and then it is."""
    out = tmp_path / "run"
    asked = ("--payload", "256", "--turns", "1", "--slice", "0.1", "--rate", "100", "--arms", "rest-binary", "grpc")
    with subprocess.Popen(
        [sys.executable, "-m", "comparison", "run", *asked, "--blocks", "50", "--out", str(out)],
        cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as running:  # fmt: skip
        until = time.monotonic() + 150
        slices = out / "samples" / "slices.jsonl"
        while not (slices.exists() and len(slices.read_text().splitlines()) >= 2):
            assert time.monotonic() < until
            time.sleep(0.1)
        running.send_signal(signal.SIGHUP)
        _, said = running.communicate(timeout=100)
        assert running.returncode == 1, said.decode()
    before = [json.loads(line) for line in slices.read_text().splitlines()]
    assert json.loads((out / "summary.json").read_text())["complete"] is False
    done = lab("run", "--continue", out, "--blocks", "1", timeout=200)
    assert done.returncode == 0, done.stderr
    after = [json.loads(line) for line in slices.read_text().splitlines()]
    assert after[: len(before)] == before
    assert {line["block"] for line in after[len(before) :]} == {max(line["block"] for line in before) + 1}
    assert not {line["seed"] for line in after[len(before) :] if line["kind"] == "load"} & {
        line["seed"] for line in before
    }
    assert json.loads((out / "summary.json").read_text())["complete"] is True
