"""Which reports are listed and found."""

from __future__ import annotations

import os

import pytest

from crossover.rest_gateway.page.reports import found, listed


@pytest.fixture
def runs(tmp_path):
    """Two runs with a report, one without, one that leads elsewhere."""
    folder = tmp_path / "runs"
    for moment, name in enumerate(("older", "newer")):
        (folder / name).mkdir(parents=True)
        (folder / name / "report.html").write_text("<h1>report</h1>")
        os.utime(folder / name / "report.html", (moment, moment))
    (folder / "empty").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "report.html").write_text("secret")
    (folder / "elsewhere").symlink_to(tmp_path / "secret")
    return folder


def test_reports_are_listed_newest_first(runs):
    """Only runs that have a report inside the folder are listed."""
    assert [(report["name"], report["href"]) for report in listed(runs)] == [
        ("newer", "/reports/newer"),
        ("older", "/reports/older"),
    ]
    assert listed(runs)[0]["written_at"] == "1970-01-01T00:00:01Z"


@pytest.mark.parametrize(
    ("text", "headline"), [('{"pair": ["grpc", "rest"]}', {"pair": ["grpc", "rest"]}), ("[]", None), ("{", None), (None, None)]
)  # fmt: skip
def test_a_headline_that_cannot_be_read_is_none(runs, text, headline):
    """A run is listed whatever stands beside its report."""
    if text is not None:
        (runs / "newer" / "headline.json").write_text(text)
    assert listed(runs)[0]["headline"] == headline


def test_no_folder_means_no_reports(tmp_path):
    """Before the first run there is no folder, which is no error."""
    assert listed(tmp_path / "runs") == []


@pytest.mark.parametrize("name", ["..", ".", "../secret", "elsewhere", "empty", "", "a/b", "older/", "..\\secret"])
def test_nothing_outside_the_folder_is_found(runs, name):
    """A name never leads out of the folder, neither by its characters nor by a link."""
    assert found(runs, name) is None
