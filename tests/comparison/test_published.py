"""Published runs: what a document says of them is counted, and a new run is set beside them."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.__main__ import main
from crossover.comparison.analysis import published
from crossover.comparison.options import ROOT
from crossover.comparison.report import beside

ROWS = published.rows(ROOT / "results")


@pytest.mark.parametrize("name", ["choose.md", "choose.ko.md"])
def test_every_count_in_choose_holds(name, capsys):
    """Each counted sentence holds on as many rows of results/ as it says."""
    assert main(["claims", str(ROOT / "docs" / name)]) == 0, capsys.readouterr().out
    assert len(capsys.readouterr().out.splitlines()) >= 8


def test_both_languages_count_the_same():
    """The same rules with the same counts."""
    one, other = (published.claims((ROOT / "docs" / name).read_text("utf-8")) for name in ("choose.md", "choose.ko.md"))
    assert [(c.holds, c.of, c.rules) for c in one] == [(c.holds, c.of, c.rules) for c in other]


RULE = "all high < 0.6 where pair = grpc-stock/rest-stock and metric = p50"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (f"so **2 of 2 hosts**<!-- holds: {RULE} -->", 0, "line 1: holds on 2 of 2"),
        (f"so **1 of 2 hosts**<!-- holds: {RULE} -->", 1, "the document says 1 of 2"),
        ("so **2 of 2 hosts**.", 2, "line 1 counts hosts without a rule"),
        ("so **2 of 2 hosts**<!-- holds: all hihg < 1 -->", 2, "'hihg' is not a field"),
        ("so **0 of 0 hosts**<!-- holds: all ratio < 1 where payload = 3 -->", 0, "say nothing of it"),
        (
            f"so **0 of 2 hosts**<!-- holds: {RULE}; all ratio > 1 where pair = grpc/rest and metric = p50 -->",
            0,
            "0 of 2",
        ),
    ],
)
def test_claims(text, code, said, tmp_path, capsys):
    """Exit code 1 where the count is another, 2 where there is nothing to count by."""
    (tmp_path / "page.md").write_text(text)
    assert main(["claims", str(tmp_path / "page.md")]) == code
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


def test_a_run_becomes_a_row(tmp_path, capsys, without_pictures):
    """`report --result FILE` writes what `claims` reads, named by the file."""
    folder = synthetic.write(tmp_path / "run")
    (tmp_path / "rows").mkdir()
    assert main(["report", str(folder), "--result", str(tmp_path / "rows" / "mine.json")]) == 0
    (row,) = published.rows(tmp_path / "rows")
    assert row["name"] == "mine"
    assert any(cell["pair"] == ["grpc", "rest"] and cell["metric"] == "p50" for cell in row["cells"])
    summary = json.loads((folder / "summary.json").read_text())
    assert {told["row"] for told in summary["published"]} <= {found["name"] for found in ROWS}
    assert summary["published"]
    assert "Beside the published run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": "another/1.0"}', '{"schema": "crossover.result/1.0", "cells": [{}]}']
)
def test_a_file_that_is_no_row_is_named(content, tmp_path, capsys):
    """Exit code 2 and one sentence."""
    (tmp_path / "bad.json").write_text(content)
    assert main(["claims", "--results", str(tmp_path)]) == 2
    assert "bad.json" in capsys.readouterr().err


def _cell(ratio, low, high, verdict, **more):
    return {"view": "end-to-end", "pair": ["grpc", "rest"], "model": "identity", "payload_bytes": 256, "network": "loopback",
            "metric": "p50", "ratio": ratio, "ci": [low, high], "verdict": verdict, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("here", "there", "sign", "size"),
    [
        (_cell(1.5, 1.4, 1.6, "rest"), _cell(1.55, 1.45, 1.65, "rest"), 0, 0),
        (_cell(1.5, 1.4, 1.6, "rest"), _cell(2.5, 2.4, 2.6, "rest"), 0, 1),
        (_cell(1.5, 1.4, 1.6, "rest"), _cell(0.8, 0.7, 0.9, "grpc"), 1, 0),
        (_cell(1.5, 1.4, 1.6, "rest"), _cell(1.0, 0.9, 1.1, "undecided"), 0, 1),
    ],
)
def test_where_a_run_differs(here, there, sign, size):
    """Another side ahead is one thing, another size of the same another; intervals that meet are no difference."""
    summary = {"services": "ours", "cells": [here]}
    (told,) = published.compared(summary, [{"name": "x", "machine": {}, "cells": [there]}])
    assert (told["shared"], len(told["sign"]), len(told["size"])) == (1, sign, size)
    said = beside.published([told])[0]
    assert ("none differs" in said) == (not sign and not size)


@pytest.mark.parametrize(
    "there",
    [_cell(2, 1.9, 2.1, "rest", network="region"), _cell(2, 1.9, 2.1, "rest", withheld="a control"),
     _cell(2, 1.9, 2.1, "rest", tls=True), _cell(None, None, None, "invalid", ci=None)],
)  # fmt: skip
def test_what_is_not_the_same_is_not_compared(there):
    """Another network, TLS, a number that does not exist or may not be used."""
    summary = {"services": "ours", "cells": [_cell(1.5, 1.4, 1.6, "rest")]}
    assert published.compared(summary, [{"name": "x", "machine": {}, "cells": [there]}]) == []
