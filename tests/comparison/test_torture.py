"""The torture command: cheap lines are kept, each guard's line is missed without it, and its options say what they do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from crossover.comparison.torture import command, guards
from crossover.comparison.torture.grounds import PLANS, PROMISES
from crossover.comparison.torture.promise import Figure, at_least, at_most


def tortured(root, *arguments, seconds=100):
    """Exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "comparison", "torture", *arguments], cwd=root, capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_cheap_lines_are_kept(root, tmp_path):
    """Lines of two grounds, and the same as JSON."""
    names = ["http.fields", "http.targets", "http.trailers", "doors.hosts", "doors.keys"]
    code, output = tortured(root, "--only", *names, "--upstream", "grpc", "--json", str(tmp_path / "found.json"))
    assert code == 0, output
    assert [line.split()[1] for line in output.splitlines()[:-1]] == names
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(line["name"], line["result"]) for line in found["lines"]] == [(name, "kept") for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("line", ["http.fields", "doors.hosts"])
def test_a_line_is_missed_without_its_guard(root, line):
    """A guard that a setting switches off, and one that none does."""
    code, output = tortured(root, "--self-test", "--only", line, "http.targets", "doors.origins")
    assert code == 0, output
    (guard,) = [one.name for one in guards.GUARDS if one.line == line]
    assert f"seen    without {guard}: {line}\n" in output


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_line_is_kept_on_one_upstream(root):
    """All promises but those whose figures need a machine of one's own."""
    grounds = [name for name in PLANS if name != "overload"]
    code, output = tortured(root, "--only", *grounds, "--upstream", "grpc", seconds=900)
    assert code == 0, output


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_guard_has_a_line_that_sees_it_go(root):
    """The whole self-test but for overload."""
    grounds = [name for name in PLANS if name != "overload"]
    code, output = tortured(root, "--self-test", "--only", *grounds, seconds=3000)
    assert code == 0, output


@pytest.mark.parametrize("arguments", [["--only", "weather"], ["--self-test", "--only", "faults.return"]])
def test_what_cannot_be_tried_is_said(root, arguments):
    """One sentence that names what there is; exit code 2."""
    code, output = tortured(root, *arguments)
    assert code == 2
    assert "http.heads" in output
    assert "Traceback" not in output


def test_every_guard_names_a_line_and_something_to_switch_off():
    """Names are unique, lines exist, and so does each attribute that is replaced."""
    assert len(guards.BY_NAME) == len(guards.GUARDS)
    for guard in guards.GUARDS:
        assert {guard.line, *guard.also} <= PROMISES.keys()
        for path in (*guard.replaced, *guard.changed):
            guards._owner(path)
        assert guard.settings or guard.replaced or guard.changed


def test_the_services_themselves_know_no_switch(root):
    """The variable is read by the lab's own launcher alone."""
    named = [
        path.relative_to(root).as_posix()
        for folder in (
            "protocol",
            "transport",
            "clients",
            "endpoints",
            "service",
            "model_server",
            "rest_gateway",
            "stack",
        )
        for path in (root / folder).rglob("*.py")
        if guards.VARIABLE in path.read_text("utf-8") or "torture" in path.read_text("utf-8")
    ]
    assert named == []


def line(name: str, kept: bool | None) -> command.Line:
    return command.Line(PROMISES[name], Figure(kept, "found"), 0.0)


@pytest.mark.parametrize(
    ("own", "other", "right"), [(False, True, True), (True, True, False), (False, False, False), (None, True, True)]
)
def test_exactly_its_line_has_to_be_missed(own, other, right):
    """Its own missed and no other; what could not be tried says nothing."""
    lines = [line("http.fields", own), line("http.heads", other)]
    assert (command.judged(guards.BY_NAME["fields"], lines) is None) is right


def test_figures_name_the_worst():
    """What never came is worse than any goal, and no number in JSON."""
    found = at_most(1.0, {"grpc": 0.5, "rest": float("inf")})
    assert not found.kept
    assert "rest" in found.text
    assert command._finite(found.values) == {"grpc": 0.5, "rest": None}
    assert at_least(85, {"grpc": 90.0, "rest": 86.0}, "%").kept
