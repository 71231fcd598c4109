"""What is made of samples: diff, Markdown, JUnit, doubts, torn files, withheld verdicts."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.__main__ import main
from crossover.comparison.analysis import controls, verdicts
from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.failif import parse
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import samples
from crossover.comparison.report import junit, markdown, terminal, words
from crossover.comparison.services import scratch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("run"))


def summary_of(folder, **changes):
    found = {**Analysis(samples.read(folder)).summary(), "complete": True, "stopped": ""} | changes
    found["not_measured"] = words.not_measured(found)
    return found


@pytest.fixture(scope="module")
def summary(folder):
    return summary_of(folder)


def _changed(folder, **changes):
    path = folder / "samples" / "experiment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_the_first_lines_name_both_libraries_with_ms_rate_and_interval(summary):
    """Two pairs that neither side's expert would reject, and these services; each with ratio, interval, ms, requests/s."""
    first, second, third = words.answers(summary)
    assert first.startswith("As usually written (grpc.aio against httpx and FastAPI with JSON)")
    assert second.startswith("With equal care on both sides")
    assert third.startswith("As these services run")
    for said in (first, second, third):
        assert re.search(r"gRPC takes \d\.\d\d \(\d\.\d\d to \d\.\d\d\) of REST's median", said), said
        assert re.search(r"[\d.]+ against [\d.]+ ms at 256 B, 400 requests/s", said), said


def test_why_begins_with_the_headline_pair(summary):
    """The parts of the pair that the verdict opens with come first."""
    (first, *_) = [said for said in words.verdict(summary) if said.startswith("Why")]
    assert "grpc-stock less rest-stock" in first


@pytest.mark.parametrize(
    ("found", "known", "status"),
    [
        (st.Interval(390, 400, 410), 400, "recovered"),
        (st.Interval(441, 450, 460), 400, "missed"),
        (st.Interval(100, 400, 700), 400, "too noisy"),
        (st.Interval(5522, 7911, 10300), 2423, "missed"),
        (st.Interval(-900, -300, 100), 400, "missed"),
        (st.Interval(430, 435, 440), 400, "recovered"),
    ],
)
def test_a_delay_that_the_interval_leaves_out_is_missed_however_wide_it_is(found, known, status):
    """Too noisy is said only where the truth is inside."""
    assert controls._status(found, known) == status


def _again_shifted(folder, arm, factor):
    """Make one arm slower in every block and cell."""
    found = samples.read(folder)
    for line, table in found.slices:
        if line.arm == arm and line.kind == "load":
            late = table[:, 3] - table[:, 0]
            table[:, 3] += (late * (factor - 1)).astype(np.int64)
            np.save(folder / "samples" / line.file, table)


def test_an_a_a_interval_without_1_withholds_verdicts_and_says_so(tmp_path, capsys, without_pictures):
    """Of that metric in that cell: in the summary, in the verdict's box before the answer, in --fail-if, in the page."""
    folder = synthetic.write(tmp_path)
    _again_shifted(folder, "grpc-again", 1.3)
    found = summary_of(folder)
    p50 = [cell for cell in found["cells"] if cell["metric"] == "p50"]
    assert {cell["verdict"] for cell in p50} == {"undecided"}
    assert all(cell["withheld"] and cell["ratio"] and cell["more_blocks"] is None for cell in p50)
    assert any(cell["verdict"] != "undecided" for cell in found["cells"] if cell["metric"] == "cpu")
    assert found["withheld"]
    assert words.doubts(found)[0][0] == words.STOP
    assert not parse("any ratio > 0 where metric = p50").holds(found["cells"])
    assert not parse("any low > 0 where metric = p50").holds(found["cells"])
    terminal.show(found, folder)
    shown = capsys.readouterr().out
    assert shown.index("nothing is judged") < shown.index("As usually written")
    assert main(["report", str(folder)]) == 0
    assert "withheld" in (folder / "report.html").read_text()


def test_below_four_blocks_nothing_is_forecast():
    """Two or three blocks do not say how many would decide."""
    noisy = np.array([0.3, -0.2, 0.25, -0.1, 0.2])
    for count in (2, 3):
        assert verdicts.judge(noisy[:count], seed=1, holm_p=1.0).more_blocks is None
    assert verdicts.judge(noisy, seed=1, holm_p=1.0).more_blocks


@pytest.mark.parametrize(("share", "grade"), [(0.04, None), (0.06, words.NOTE), (0.26, words.UNQUOTABLE)])
def test_other_load_is_graded(summary, share, grade):
    """Over 5 % a note, over 25 % not to be quoted."""
    found = summary | {"noise": summary["noise"] | {"others_median": share}}
    grades = [grade for grade, said in words.doubts(found) if "Other programs" in said]
    assert grades == ([grade] if grade else [])


def test_every_number_is_printed_in_full_at_80_columns(summary, folder, monkeypatch):
    """No ellipsis, no number cut in two: what the tables have at 200 columns stands somewhere at 80."""
    texts = {}
    for width in (80, 200):
        console = Console(width=width, highlight=False, record=True, file=open(os.devnull, "w"))
        monkeypatch.setattr(terminal, "console", lambda console=console: console)
        terminal.show(summary, folder)
        texts[width] = console.export_text()
    assert "…" not in texts[80]
    tables = texts[200][texts[200].index("grpc-stock / rest-stock") :]
    numbers = set(re.findall(r"\d[\d,.]*\d", tables)) - {"200"}
    assert numbers
    missing = [number for number in numbers if number not in texts[80]]
    assert missing == []


def test_diff_of_a_run_with_itself_says_that_nothing_changed(folder, capsys):
    """Exit code 0, with --json too."""
    assert main(["diff", str(folder), str(folder)]) == 0
    capsys.readouterr()
    assert main(["diff", str(folder), str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["changed"] == 0
    assert found["cells"]


def test_diff_of_runs_that_differ_says_so_by_its_exit_code(folder, tmp_path, capsys):
    """One side is three times as slow: exit code 1, and what changed of machine and versions is named."""
    other = synthetic.write(tmp_path / "slow", seed=2)
    _again_shifted(other, "grpc", 3.0)
    (other / "provenance.json").write_text(json.dumps({"processor": "another", "packages": {"grpcio": "2"}}))
    assert main(["diff", str(folder), str(other)]) == 1
    shown = capsys.readouterr().out
    for named in ("processor None to another", "packages.grpcio None to 2", "The machines differ"):
        assert named in " ".join(shown.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"model": "digits"}, "model is"), ({"services": "pair"}, "services is"), ({"options": {"tls": True}}, "TLS is")],
)
def test_diff_refuses_what_cannot_be_compared(folder, tmp_path, changes, said, capsys):
    """Another model, other services, TLS in one alone: exit code 2 and one sentence."""
    other = _changed(synthetic.write(tmp_path), **changes)
    assert main(["diff", str(folder), str(other)]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert said in sentence


def test_diff_refuses_runs_without_a_cell_in_common(folder, tmp_path, capsys):
    """Other payloads, or too few blocks."""
    other = synthetic.write(tmp_path, blocks=1)
    assert main(["diff", str(folder), str(other)]) == 2
    assert "no cell in common" in capsys.readouterr().err


def test_markdown_holds_doubts_answers_and_every_judged_cell(summary):
    """Doubts come first; no cell's text can break the table."""
    text = markdown.text(summary | {"notes": ["a note"]})
    assert text.index("A note.") < text.index("As usually written")
    rows = [line for line in text.splitlines() if line.startswith("| grpc")]
    assert len(rows) == sum(cell["metric"] in {"p50", "cpu", "wire_bytes"} for cell in summary["cells"])
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_junit_is_xml_with_a_case_for_each_cell_and_rule(summary):
    """Rules that hold are failures; what is no XML character is replaced; counts are right."""
    rules = [parse("ratio > 0"), parse("ratio < 0"), parse("ratio > 1 where payload = 3")]
    bad = [*summary["cells"], summary["cells"][0] | {"verdict": "invalid", "reason": "bell \x07 <&>"}]
    suite = ET.fromstring(junit.text(summary | {"cells": bad}, rules))
    assert len(suite.findall("testcase")) == len(bad) + len(rules) == int(suite.get("tests"))
    assert suite.get("failures") == "1"
    assert next(case.find("error").get("message") for case in suite if case.find("error") is not None) == "bell ? <&>"


def test_outputs_are_written_when_asked_for(tmp_path, capsys, without_pictures):
    """`report --markdown --junit` writes both beside the summary, and --fail-if gives exit code 3."""
    folder = synthetic.write(tmp_path)
    assert main(["report", str(folder), "--markdown", "--junit", "--fail-if", "ratio > 0"]) == 3
    assert (folder / "summary.md").exists()
    assert ET.parse(folder / "junit.xml").getroot().get("failures") == "1"
    assert main(["report", str(folder), "--fail-if", "colour = red"]) == 2
    assert "'colour' is not a field" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["slices.jsonl", "stages.jsonl", "blocks.jsonl", "capacity.jsonl"])
def test_a_torn_last_line_is_left_out_with_a_note(tmp_path, name):
    """A kill may stop a write in the middle; what was whole is kept, and damage elsewhere is refused."""
    folder = synthetic.write(tmp_path)
    path = folder / "samples" / name
    whole = path.read_text() if path.exists() else ""
    path.write_text(whole + '{"block": 9, "ce')
    found = samples.read(folder)
    assert any(name in note for note in found.experiment.notes)
    samples.Writer(folder)
    assert path.read_text() == whole
    path.write_text('{"torn\n' + whole + '{"a": 1}\n{"b": 2}\n')
    with pytest.raises(samples.SamplesError, match="line 1 of"):
        samples.read(folder)


def test_a_torn_last_table_is_left_out_with_a_note(tmp_path):
    """The line was written, its file was not."""
    folder = synthetic.write(tmp_path)
    found = samples.read(folder)
    last = folder / "samples" / found.slices[-1][0].file
    last.write_bytes(last.read_bytes()[:100])
    again = samples.read(folder)
    assert len(again.slices) == len(found.slices) - 1
    assert any(last.name in note for note in again.experiment.notes)


def test_a_writer_goes_on_where_the_samples_end(tmp_path):
    """Files of an earlier part are never written over."""
    folder = synthetic.write(tmp_path, blocks=2)
    names = {path.name for path in (folder / "samples").glob("*.npy")}
    writer = samples.Writer(folder)
    line, table = samples.read(folder).slices[0]
    writer.add(line, table)
    assert line.file not in names


def test_a_run_that_was_killed_is_not_called_complete(tmp_path, without_pictures):
    """It has samples and no word of its end."""
    folder = synthetic.write(tmp_path)
    assert main(["report", str(folder)]) == 0
    found = json.loads((folder / "summary.json").read_text())
    assert (found["complete"], found["stopped"]) == (False, "it was killed before its end")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-5"])
@pytest.mark.parametrize("flag", ["--price-vcpu-hour", "--price-gigabyte", "--utilisation", "--tolerance"])
def test_prices_are_finite_numbers_from_zero_on(flag, value, tmp_path, capsys):
    """Refused before anything is measured."""
    assert main(["run", "--out", str(tmp_path / "run"), f"{flag}={value}"]) == 2
    assert flag in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--blocks", "0"), "--blocks takes values"),
        (("--turns", "0"), "--turns takes values"),
        (("--slice", "0"), "--slice takes values"),
        (("--slice", "nan"), "--slice takes values"),
        (("--rate", "nan"), "--rate takes values"),
        (("--seed", "-1"), "--seed takes values"),
        (("--closed", "--rate", "50"), "contradict"),
        (("--closed", "--load", "0.5"), "contradict"),
        (("--rate", "50", "--load", "0.5"), "give one of them"),
        (("--rest", ""), "--rest is empty"),
        (("--grpc", " "), "--grpc is empty"),
        (("--rest", "http://127.0.0.1:9", "--view", "hop"), "--view is for services"),
        (("--rest", "http://127.0.0.1:9", "--repository", "."), "--repository is for services"),
        (("--fail-if", "verdict = gprc"), "'gprc' is no verdict"),
        (("--fail-if", "network = moon"), "'moon' is no network"),
        (("--fail-if", "ratio > 1 where pair = grpc"), "grpc-arm/rest-arm"),
        (("--fail-if", "ratio > nan"), "is not a number"),
        (("--continue", "/nowhere"), "holds no run"),
    ],
)
def test_nonsense_and_contradictions_are_one_sentence(arguments, said, tmp_path, capsys):
    """Exit code 2, before anything is started."""
    assert main(["run", "--out", str(tmp_path / "run"), *arguments]) == 2
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    assert said in sentence


def test_a_run_goes_on_only_as_it_was_asked_for(folder, tmp_path, capsys):
    """--continue takes --blocks, and nothing that would change what is measured."""
    assert main(["run", "--continue", str(folder)]) == 2
    assert "goes with --blocks" in capsys.readouterr().err
    assert main(["run", "--continue", str(folder), "--blocks", "2", "--payload", "3"]) == 2
    assert "--payload does not go with --continue" in capsys.readouterr().err
    assert main(["pair", "--continue", str(folder), "--blocks", "2"]) == 2
    assert "was not made by `pair`" in capsys.readouterr().err


def test_scratch_folders_of_labs_that_are_gone_are_swept(tmp_path, monkeypatch):
    """Those of a lab that lives, and folders of other names, stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = [tmp_path / f"crossover-lab-{gone.pid}-123-abc", tmp_path / f"crossover-lab-{os.getpid()}-1-reused"]
    kept = [tmp_path / "crossover-lab-mine", tmp_path / "other"]
    for path in (*left, *kept):
        path.mkdir()
        (path / "key.pem").write_text("secret")
    with scratch.folder() as mine:
        assert set(scratch.sweep()) == set(left)
        assert Path(mine).exists()
    assert all(path.exists() for path in kept)
