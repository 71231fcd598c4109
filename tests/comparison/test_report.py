"""The page: everything in it, nothing fetched, the same from the same samples."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import samples
from crossover.comparison.report import page as report
from crossover.comparison.report import words

VOID = {"meta", "br", "path", "use", "line", "rect", "circle", "img", "input", "link", "hr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return _page(synthetic.write(tmp_path_factory.mktemp("run")))


def _page(folder):
    analysis = Analysis(samples.read(folder))
    summary = {**analysis.summary(), "complete": True, "stopped": ""}
    summary["not_measured"] = words.not_measured(summary)
    return report.html(summary, analysis, {"kernel": "<6.1>"})


def test_the_page_fetches_nothing(page):
    """No script, no address but XML namespaces, no reference to anything outside of the page."""
    assert "<script" not in page
    assert set(re.findall(r"https?://[^\"'< ]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert all(reference.startswith("#") for reference in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert not re.search(r"url\((?!#)", page)


def test_every_picture_has_words_and_takes_the_pages_colours(page):
    """Each SVG has an alternative text with numbers in it, and no ink of its own."""
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert len(labels) == page.count("<svg") >= 6
    assert all(re.search(r"\d", label) for label in labels)
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"#0(10203|40506|70809)", page)


def test_ids_are_unique_and_references_hold(page):
    """Several inline SVGs share one page: no id twice, and each reference to one that is there."""
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_elements_are_closed(page):
    """The page is well formed: every element that is opened is closed in order."""

    class Balance(HTMLParser):
        open: ClassVar[list[str]] = []

        def handle_starttag(self, tag, attrs):
            if tag not in VOID:
                self.open.append(tag)

        def handle_endtag(self, tag):
            if tag not in VOID:
                assert self.open.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open == []


def test_text_from_outside_is_escaped(page):
    """What services and machines say cannot become markup."""
    assert "&lt;6.1&gt;" in page
    assert "<6.1>" not in page


def test_the_same_samples_give_the_same_page(tmp_path):
    """Byte for byte, so that a report made again can be compared."""
    folder = synthetic.write(tmp_path)
    assert _page(folder) == _page(folder)


def test_a_run_with_one_block_still_gives_a_page(tmp_path):
    """With too little to say, the page says so instead of failing."""
    assert "undecided" in _page(synthetic.write(tmp_path, blocks=1))


def _gate(arm: str, value: float, where: str = "1 MB") -> dict:
    return {"arm": arm, "where": where, "gate": "generator late (p99)", "value": value, "unit": "µs", "limit": 500.0,
            "passed": value <= 500}  # fmt: skip


def test_arms_that_fail_the_same_gate_are_one_sentence():
    """A reader sees what was not used, not the same line for every arm."""
    gates = [_gate("rest", 2000), _gate("grpc", 3000), _gate("inprocess", 20), _gate("grpc", 501, "4 KB")]
    assert words._failed_gates({"gates": gates}) == [
        "rest and grpc at 1 MB: generator late (p99) 2,000 to 3,000 µs, limit 500: not used.",
        "grpc at 4 KB: generator late (p99) 501 µs, limit 500: not used.",
    ]


def test_the_verdict_gives_the_causes_of_the_headline_and_of_pairs_that_add_some():
    """A pair whose parts all stand in another pair's sentence is left to the table."""

    def cause(pair: list[str], size: int, *causes: str) -> dict:
        parts = [{"cause": name, "amount": [1, 2, 3]} for name in causes]
        return {
            "pair": pair,
            "metric": "p50",
            "payload_bytes": size,
            "where": f"{size}",
            "gap": 2.0,
            "unit": "ms",
            "parts": parts,
        }

    head, part, whole = ["grpc", "rest-binary"], ["grpc", "rest"], ["grpc-stock", "rest-stock"]
    summary = {
        "cells": [{"pair": pair} for pair in (head, part, whole)],
        "causes": [cause(head, 1, "a"), cause(head, 9, "a"), cause(part, 9, "a", "b"), cause(whole, 9, "a", "b", "c")],
    }
    told = words._causes(summary)
    assert [text.split(" is ")[0] for text in told] == [
        "Why, at 9: grpc less rest-binary",
        "Why, at 9: grpc-stock less rest-stock",
    ]
