"""The page: everything in it, nothing fetched, the same from the same samples."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.analysis import explain, gates
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import arms, samples
from crossover.comparison.pair import differences, subject
from crossover.comparison.report import korean, words
from crossover.comparison.report import page as report
from crossover.comparison.report.figures import resources, stages, style
from crossover.protocol.wires import WIRES

VOID = {"meta", "br", "path", "use", "line", "rect", "circle", "img", "input", "link", "hr"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return _page(synthetic.write(tmp_path_factory.mktemp("run")))


def _found(folder):
    analysis = Analysis(samples.read(folder))
    summary = {**analysis.summary(), "complete": True, "stopped": ""}
    summary["not_measured"] = words.not_measured(summary)
    return summary, analysis


def _page(folder):
    return report.html(*_found(folder), {"kernel": "<6.1>"})


@pytest.fixture
def apart(monkeypatch):
    """The wide pictures of a run, and its page without pictures: a page draws each twice, which is nearly all of its cost."""

    def made(folder):
        found = _found(folder)
        sections = report._sections(*found)
        monkeypatch.setattr(report, "_sections", lambda *_: [(title, [], *rest) for title, _, *rest in sections])
        pictures = [picture.svg() for _, drawn, *_ in sections for picture in drawn if picture]
        return pictures, report.html(*found, {"kernel": "<6.1>"})

    return made


def test_an_arm_without_one_right_reply_is_told(tmp_path):
    """No percentile of it exists; page, terminal's words and pictures stand all the same."""
    summary, analysis = _found(synthetic.write(tmp_path, wrong="rest", wrong_replies=10**6, blocks=2))
    assert {bool(row["percentiles_ms"]) for row in summary["arms"] if row["arm"] == "rest"} == {False}
    page = report.html(summary, analysis, {})
    assert "gave wrong replies" in page
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", page.lower())


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
    assert not set(re.findall(r"#[0-9a-f]{6}", "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL)))) & {
        light for light, _ in style.ARM_COLOURS.values()
    }
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


def test_the_same_samples_give_the_same_page(page, apart, tmp_path):
    """Byte for byte, so that a report made again can be compared."""
    pictures, rest = apart(synthetic.write(tmp_path))
    assert len(pictures) >= 6
    assert [picture for picture in pictures if picture not in page] == []
    assert re.sub("<figure>.*?</figure>", "", page, flags=re.DOTALL) == rest


def test_a_run_with_one_block_still_gives_a_page(apart, tmp_path):
    """With too little to say, the page says so instead of failing."""
    pictures, rest = apart(synthetic.write(tmp_path, blocks=1))
    assert pictures
    assert "undecided" in rest


@pytest.mark.parametrize("unit", list(gates._UNITS))
def test_what_a_gate_found_is_korean_too(unit):
    """In a doubt and as the reason of a cell without a number; what is no arm's name, number or unit is translated."""
    told = [
        f"{arm}: queued for a connection, {gates.amount([0.2], unit)} (limit {gates.limit([0.05], unit)})"
        for arm in ("grpc", "rest")
    ]
    doubt = words._failed_gates({"gates": [
        {"arm": arm, "where": "22 B", "gate": "errors", "value": value, "unit": unit, "limit": 0.1, "passed": False}
        for arm, value in (("grpc", 2.0), ("rest", 3.0))]})[0]  # fmt: skip
    lead = "These two services (greeter.v1.Greeter/SayHello against POST /v1/hello)"
    for text in (doubt, f"{lead}: no number at 22 B, 237 requests/s ({', and '.join(told)})."):
        assert not re.search(
            r"of requests|of one CPU|replies|limit|requests/s|connection| to | and ", korean.said(text)
        ), korean.said(text)


def _gate(arm: str, value: float, where: str = "1 MB") -> dict:
    return {"arm": arm, "where": where, "gate": "generator late (p99)", "value": value, "unit": "µs", "limit": 500.0,
            "passed": value <= 500}  # fmt: skip


def test_arms_that_fail_the_same_gate_are_one_sentence():
    """A reader sees what was not used, not the same line for every arm."""
    gates = [_gate("rest", 2000), _gate("grpc", 3000), _gate("inprocess", 20), _gate("grpc", 501, "4 KB")]
    assert words._failed_gates({"gates": gates}) == [
        "rest and grpc at 1 MB: generator late (p99), 2,000 µs to 3,000 µs (limit 500 µs): not used.",
        "grpc at 4 KB: generator late (p99), 501 µs (limit 500 µs): not used.",
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


def _said(folder):
    analysis = Analysis(samples.read(folder))
    summary = {**analysis.summary(), "complete": True, "stopped": ""}
    summary["not_measured"] = words.not_measured(summary)
    return [
        *words.verdict(summary), *words.controls(summary), *words.limits(summary), *summary["not_measured"],
        *(part for doubt in words.doubts(summary) for part in doubt), *words.METRIC_WORDS.values(), *words.VERDICT_WORDS.values(),
        *(text for pair in arms.PAIRS for text in (pair.lead, pair.question) if text),
        *(rung.cause for ladder in explain.LADDERS for rung in ladder.rungs),
    ]  # fmt: skip


@pytest.mark.parametrize("blocks", [1, 3, 10])
def test_every_sentence_has_a_korean_one_with_the_same_numbers(tmp_path, blocks):
    """No sentence of a run stays English, and none loses or gains a number on its way."""
    numbers = re.compile(r"\d+(?:[.,]\d+)*")
    told = _said(synthetic.write(tmp_path, blocks=blocks))
    assert len(told) > 60
    for sentence in told:
        assert korean.is_known(sentence), sentence
        translated = korean.said(sentence)
        assert re.search("[가-힣]", translated) or not re.search("[a-z]{4} [a-z]{3}", sentence), translated
        assert sorted(numbers.findall(translated)) == sorted(numbers.findall(sentence)), translated


class _Asker:
    """Both connections end after each reply, one call at a time."""

    closes: ClassVar = {"rest": True, "grpc": True}
    most_streams = 1


def _said_of_a_pair():
    """What a report says of services that are not ours, beside what it says of every run."""
    reply = {"services": "pair", "cells": [], "arms": []}
    tls, plain = (SimpleNamespace(address=SimpleNamespace(tls=on, path=not on)) for on in (True, False))
    headers = {b"via": "1.1 envoy", b"grpc-encoding": "gzip", b"etag": '"a1"'}
    seen = SimpleNamespace(
        grpc=SimpleNamespace(header=lambda name: headers.get(name)),
        rest=SimpleNamespace(header=lambda name: headers.get(name) if name == b"etag" else None, status=200),
    )
    pair = SimpleNamespace(grpc=tls, rest=plain)
    told = [
        differences._tls(pair), differences._compression(seen), differences._proxy(seen), differences._cache(seen),
        differences._connections(_Asker), differences._streams(_Asker),
        "replies of different size: 12 bytes over gRPC (as JSON), 300 over HTTP",
    ]  # fmt: skip
    return [
        *(f"Besides the protocol: {text}." for text in told if text), *words._not_measured_of_pair(reply), *words.limits(reply),
        ("These two services (pkg.Greeter/Hello against POST /v1/hello): gRPC takes 0.72 (0.35 to 1.50) of REST's median, "
        "1.24 against 1.76 ms at 22 B, 421 requests/s: undecided."),
        ("The method pkg.Greeter/Hello over gRPC against GET /v1/hello/x over HTTP/1.1 (grpc against rest), "
        f"{words._VIEWS['pair']}, 8 connections of each side, network: loopback."),
        *subject.PAIRS.values(),
        *(text for _, text in words._pair_notes(reply)),
    ]  # fmt: skip


def test_the_page_shows_where_a_run_differs_from_the_published_ones():
    """Counts in a sentence, the cells in a table, in both languages; nothing at all without a published run."""
    cell = {
        "pair": ["grpc", "rest"],
        "metric": "p50",
        "payload_bytes": 256,
        "network": "region",
        "here": 0.5,
        "there": 2.0,
    }
    run = {"row": "first <host>", "machine": {}, "shared": 12, "sign": [cell], "size": []}
    shown = report._published([run])
    for text in (
        "first &lt;host&gt;: 12 ratios in common",
        "grpc / rest",
        "256 B, region",
        "0.50",
        "2.00",
        "공통된 비율 12개",
    ):
        assert text in shown
    assert report._published([]) == ""


def test_a_report_of_foreign_services_is_in_korean_too():
    """Each sentence that only a pair's report has is translated whole, with its numbers."""
    numbers = re.compile(r"\d+(?:[.,]\d+)*")
    told = _said_of_a_pair()
    assert len(told) > 20
    for sentence in told:
        translated = korean.said(sentence)
        assert not korean._english_words(translated), translated
        assert sorted(numbers.findall(translated)) == sorted(numbers.findall(sentence)), translated


def test_every_korean_sentence_uses_the_parts_of_the_english_one():
    """A part that one of the two lacks would be lost, or stand there as its name."""
    for english, translated in korean._SENTENCES.items():
        assert sorted(re.findall(r"\{(\w+);?\}", english)) == sorted(re.findall(r"\{(\w+);?\}", translated)), english


def test_titles_heads_and_labels_are_in_both_languages(page):
    """Each heading, caption and table head stands there twice, for the switch at the top."""
    for kind in ("h1", "h2", "figcaption", "th", "summary"):
        for found in re.findall(rf"<{kind}>(.*?)</{kind}>", page):
            assert 'lang="ko"' in found or not re.search("[a-z]{4}", found) or re.fullmatch(r"[\w. /-]+", found), found
    assert page.count('<text lang="en"') == page.count('<text lang="ko"') > 20


def test_a_colour_means_one_upstream_everywhere(root):
    """The report's colours of upstreams are the page's, in light and dark, and nothing else has one of them."""
    light, dark = (root / "rest_gateway/page/static/base.css").read_text().split("prefers-color-scheme: dark")
    of_page = [dict(re.findall(r"--colour-([\w-]+): (#\w+)", part)) for part in (light, dark)]
    for name, pair in style.UPSTREAM_COLOURS.items():
        assert pair == tuple(part[name] for part in of_page)
    assert set(style.UPSTREAM_COLOURS) == set(WIRES)
    arms_of = list(style.ARM_COLOURS.values())
    for i in (0, 1):
        assert len({pair[i] for pair in arms_of}) == len(arms_of)
    assert set(style.ARM_COLOURS) >= {*arms.ARMS, *subject.ARMS} - {arms.CONTROL}
    others = [
        *stages._COLOURS.values(), *resources._CPU_COLOURS.values(), *resources._BYTE_COLOURS.values(),
        *(colour for pair in style._PAIRS for colour in pair),
        *(colour for part in (light, dark) for colour in re.findall(r"--(?:decode|encode|hop|queue|compute|reply): (#\w+)", part)),
    ]  # fmt: skip
    assert not set(others) & {colour for pair in arms_of for colour in pair}


def test_figures_have_a_form_for_phones(page):
    """Each figure is there wide and narrow, and the narrow one is at most half as wide."""
    wide, narrow = (
        [float(width) for width in re.findall(rf'<div class="{kind}"><svg [^>]*viewBox="0 0 ([\d.]+) ', page)]
        for kind in ("wide", "narrow")
    )
    assert len(wide) == len(narrow) >= 6
    assert max(narrow) <= min(wide) / 1.8
