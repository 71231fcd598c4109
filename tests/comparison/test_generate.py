"""Load from several machines: each makes its part of a run, and `report` joins them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic
from pair_services import CALL, GREETER, NAME, ROOT, free_port, started

from crossover.comparison.__main__ import main
from crossover.comparison.design import samples
from crossover.comparison.design.samples import Writer


def parts_of(whole, into, count, **changed):
    """A run's samples dealt out to `count` machines."""
    found = samples.read(whole)
    for part in range(count):
        folder = into / f"part{part}"
        writer = Writer(folder)
        experiment = found.experiment
        experiment.options = {**experiment.options, "part": [part, count], **changed.get(f"part{part}", {})}
        writer.experiment(experiment)
        for line, table in found.slices:
            if line.kind == samples.LOAD:
                line.generators = [0.1 * (part + 1)]
                writer.add(line, table[part::count])
        (folder / "state.json").write_text('{"stopped": ""}')
    return [str(into / f"part{part}") for part in range(count)]


@pytest.mark.slow
def test_parts_joined_are_the_whole_run(tmp_path):
    """Every request is back in its place, each machine's generator is told, and the report is that of a whole run."""
    whole = synthetic.write(tmp_path / "whole", blocks=2)
    parts = parts_of(whole, tmp_path, 3)
    assert main(["report", *reversed(parts), "--out", str(tmp_path / "joined")]) == 0
    found, wanted = samples.read(tmp_path / "joined"), samples.read(whole)
    tables = {(line.block, line.cell, line.arm, line.turn): (line, table) for line, table in found.slices}
    for line, table in wanted.slices:
        if line.kind == samples.LOAD:
            joined, requests = tables[line.block, line.cell, line.arm, line.turn]
            assert np.array_equal(requests, table)
            assert joined.generators == pytest.approx([0.1, 0.2, 0.3])
            assert joined.cpu_ns["generator"] == 3 * line.cpu_ns["generator"]
    assert json.loads((tmp_path / "joined" / "summary.json").read_text())["complete"] is True


def test_a_machine_that_ended_early_makes_the_run_incomplete(tmp_path, without_pictures):
    """What only some machines measured is left out and said, and the run is not called complete."""
    whole = synthetic.write(tmp_path / "whole", blocks=2)
    parts = parts_of(whole, tmp_path, 2)
    lines = (tmp_path / "part1" / "samples" / "slices.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part1" / "samples" / "slices.jsonl").write_text("".join(lines[:-3]))
    assert main(["report", *parts, "--out", str(tmp_path / "joined")]) == 0
    summary = json.loads((tmp_path / "joined" / "summary.json").read_text())
    assert summary["complete"] is False
    assert any("3 slices that not all machines measured" in note for note in summary["notes"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda parts: [parts[0], "--out", "x"], "part 2, 3 of 3 is missing"),
        (lambda parts: [*parts[:2], parts[0], "--out", "x"], "is part 1 once more"),
        (lambda parts: parts, "give --out DIR"),
        (lambda parts: parts[:1], "holds part 1 of 3"),
    ],
)
def test_parts_that_are_no_run(given, said, tmp_path, capsys, monkeypatch):
    """Exit code 2 and one sentence."""
    monkeypatch.chdir(tmp_path)
    parts = parts_of(synthetic.write(tmp_path / "whole", blocks=2), tmp_path, 3)
    assert main(["report", *given(parts)]) == 2
    assert said in capsys.readouterr().err


def test_parts_of_two_runs_are_refused(tmp_path, capsys):
    """Another seed is another run."""
    parts = parts_of(synthetic.write(tmp_path / "whole", blocks=2), tmp_path, 2, part1={"seed": 7})
    assert main(["report", *parts, "--out", str(tmp_path / "joined")]) == 2
    assert "seed is 7 in one, 1 in the other" in capsys.readouterr().err


PAIR = (
    "--grpc",
    "127.0.0.1:1",
    "--call",
    CALL,
    "--grpc-data",
    NAME,
    "--rest",
    "POST http://127.0.0.1:2/",
    "--rest-data",
    NAME,
)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rate", "10", "--part", "3/2", "--at", "1"), "--part takes I/N"),
        (("--rate", "10", "--part", "0/2", "--at", "1"), "--part takes I/N"),
        (("--part", "1/1"), "generate needs --rate"),
        (("--rate", "10", "--part", "1/2"), "--part goes with --at"),
        (("--rate", "10", "--at", "noon"), "--at takes a time"),
        (("--rate", "10", "--arms", "grpc", "control"), "'control' does not go with generate"),
        (("--rate", "10", "--start-grpc", "x", "--start-rest", "x"), "--start-grpc does not go with generate"),
        (("--rate", "10", "--closed"), "--closed does not go with generate"),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(flags, said, tmp_path, capsys):
    """Exit code 2, before any service is spoken to."""
    assert main(["generate", *PAIR, *flags, "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_as_two_machines(tmp_path):
    """Both send their halves at one time, and the whole has all requests with right answers, judged as a pair's."""
    with (
        started("greeter_grpc.py", grpc := f"127.0.0.1:{free_port()}"),
        started("greeter_rest.py", rest := f"127.0.0.1:{free_port()}"),
    ):
        flags = (
            "--grpc", grpc, "--call", CALL, "--grpc-data", NAME, "--rest", f"POST http://{rest}/v1/hello", "--rest-data", NAME,
            "--data", str(GREETER / "rows.jsonl"), "--rate", "60", "--connections", "4", "--blocks", "2", "--turns", "2",
            "--at", str(time.time() + 20),
        )  # fmt: skip
        folders = [tmp_path / "one", tmp_path / "two"]
        machines = [
            subprocess.Popen(
                [sys.executable, "-m", "comparison", "generate", *flags, "--part", f"{number}/2", "--out", str(folder)],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for number, folder in enumerate(folders, 1)
        ]  # fmt: skip
        for machine in machines:
            out, err = machine.communicate(timeout=100)
            assert machine.returncode == 0, out + err
    assert main(["report", *map(str, folders), "--out", str(tmp_path / "whole")]) == 0
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["complete"] is True
    arms = {row["arm"]: row for row in summary["arms"]}
    assert set(arms) == {"grpc", "rest", "grpc-again", "rest-again"}
    assert all(row["answered"] == row["requests"] > 0 for row in arms.values())
    halves = [samples.read(folder) for folder in folders]
    assert arms["grpc"]["requests"] == sum(
        len(table) for half in halves for line, table in half.slices if line.arm == "grpc"
    )
