"""What a machine's basic steps take, and what `diff` makes of two machines'."""

import json
import shutil

import pytest

from crossover.comparison.machine import calibration
from crossover.comparison.report import difference

STEPS = {
    "syscall_ns": 100.0, "context_switch_ns": 2000.0, "copy_1mb_us": 50.0, "scattered_read_ns": 5.0, "bytecode_ns": 40.0,
}  # fmt: skip


def test_every_step_is_measured():
    """Six numbers above zero; the record of TLS only where openssl can make a certificate."""
    found = calibration.calibration()
    wanted = {*STEPS, "tls_record_16kb_us"} if shutil.which("openssl") else set(STEPS)
    assert found.keys() == wanted
    assert all(value > 0 for value in found.values())
    assert found["context_switch_ns"] > found["syscall_ns"]


def kept(folder, **changed):
    folder.mkdir()
    (folder / "provenance.json").write_text(json.dumps({"calibration": {**STEPS, **changed}}))
    return folder


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "take the same time"),
        ({name: 1.4 * value for name, value in STEPS.items()}, "about 1.40 times as long: ratios should hold"),
        ({"context_switch_ns": 4000.0}, "a context switch takes 2.00 times as long"),
    ],
)
def test_a_changed_ratio_is_explained_by_the_steps_that_changed(changed, said, tmp_path):
    """Alike, slower as a whole, or slower in one step."""
    found = difference._calibrated(kept(tmp_path / "a"), kept(tmp_path / "b", **changed))
    assert said in difference.explained(found)


def test_runs_without_a_calibration_are_not_explained(tmp_path):
    """A run of an earlier version has none."""
    assert difference.explained(difference._calibrated(tmp_path, kept(tmp_path / "b"))) == ""
