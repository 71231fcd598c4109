"""Documents in two languages say the same, every page says for whom it is, and the README's answer is that of the findings."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from crossover.comparison.report.figures import readme
from crossover.stack.services import ROOT
from tests import documents

TRANSLATED = {name: (ROOT / f"{name}.md", ROOT / f"{name}.ko.md") for name in ("README", "docs/guide", "docs/choose")}
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md",
         ROOT / "examples/README.md", ROOT / "examples/http/README.md"]  # fmt: skip
_FRACTION = re.compile(r"\d분의 \d")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")


def prose(text: str) -> str:
    return documents.FENCED.sub("", text)


def numbers(text: str) -> Counter[str]:
    """How often each number stands in the prose, list numbers and fractions in words left out."""
    lines = re.sub(r"^\d+\. ", "", prose(text), flags=re.MULTILINE)
    return Counter(_NUMBER.findall(_FRACTION.sub("", re.sub(r"\]\([^)]*\)", "]", lines))))


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_sections(name):
    """Headings of the same levels in the same order, and the same tables and lists."""
    english, korean = (prose(path.read_text("utf-8")) for path in TRANSLATED[name])
    for pattern in (r"^#+ ", r"^(?=\|)", r"^(?:- |\d+\. )", r"^<details"):
        assert re.findall(pattern, english, re.MULTILINE) == re.findall(pattern, korean, re.MULTILINE), pattern


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_blocks(name):
    """What is typed and what is printed is not translated."""
    english, korean = (documents.blocks(path.read_text("utf-8")) for path in TRANSLATED[name])
    assert english == korean


@pytest.mark.parametrize("name", TRANSLATED)
def test_both_languages_have_the_same_numbers(name):
    """Every number of one stands as often in the other."""
    english, korean = (numbers(path.read_text("utf-8")) for path in TRANSLATED[name])
    assert english - korean == Counter()
    assert korean - english == Counter()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_says_for_whom_it_is(page):
    """The first line below the title."""
    title, empty, line = page.read_text("utf-8").splitlines()[:3]
    assert title.startswith("# ")
    assert not empty
    assert re.fullmatch(r"\*(For people .+|.+분을 위한 문서입니다.+)\*", line), line


def test_the_picture_is_that_of_the_findings():
    """docs/figures/ratios.svg is what `comparison figure` draws of docs/findings.md now."""
    drawn = readme.svg((ROOT / "docs/findings.md").read_text("utf-8"))
    assert (ROOT / "docs/figures/ratios.svg").read_text("utf-8") == drawn, (
        "run: .venv/bin/python -m comparison figure docs/findings.md docs/figures/ratios.svg"
    )


def test_the_answer_is_that_of_the_findings():
    """A third, a ninth and a fifth are the table's ratios, rounded to such a fraction."""
    found = readme.ratios((ROOT / "docs/findings.md").read_text("utf-8"))
    usual = {point.payload: point.ratio for point in found["grpc-stock", "rest-stock"]}
    assert (round(1 / usual[256]), round(1 / usual[1024 * 1024])) == (3, 9)
    alone = [point.ratio for point in found["grpc-lean-both", "rest-protobuf"]]
    assert min(alone) < 1 < max(alone)
    assert round(max(max(alone) - 1, 1 - min(alone)), 1) <= 0.2
    text = (ROOT / "README.md").read_text("utf-8")
    for words in ("a third of REST's median at 256 B", "a ninth at 1 MB", "at most a fifth"):
        assert words in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# Nothing\n", "no table"),
        ("| pair | metric | 256 B |\n| `a` / `b` | p50 | 1.0 (0.9 to 1.1) |\n", "no row of p50 for"),
    ],
)
def test_findings_without_the_table_are_refused(text, reason):
    """One sentence says what is missing."""
    with pytest.raises(readme.FindingsError, match=reason):
        readme.svg(text)


REPLACED = {
    "ko": ("오간 말", "되지 않았습니다:", "경로 경주", "고른 경로", "부호화", "시간이 든 곳", "모델이 받는 것", "이진", "본문",
           "리소스", "듣고 있는", "에서 듣는", "갈아 끼우"),
    "en": ("What was said", "Tell it what it was", "That did not work", "Whoever has a limit", "stands in line", "way to the model server",
           "beside the floor", "waiting and not waiting", "What is no gRPC call"),
}  # fmt: skip
"""Words that had other words beside them for the same thing, or were no natural ones; one of each pair was kept."""
WORDED = {
    "ko": [*(korean for _, korean in TRANSLATED.values()), ROOT / "rest_gateway/page/static/lang/ko.js",
           ROOT / "comparison/report/korean.json"],
    "en": [*(english for english, _ in TRANSLATED.values()), ROOT / "rest_gateway/page/static/lang/en.js",
           *sorted((ROOT / "docs").glob("*[!o].md"))],
}  # fmt: skip


@pytest.mark.parametrize(("language", "path"), [(name, path) for name, paths in WORDED.items() for path in paths],
                         ids=lambda value: getattr(value, "name", value))  # fmt: skip
def test_one_word_for_one_thing(language, path):
    """What was replaced by another word does not come back, on the page, in the guide, in a report or a document."""
    text = path.read_text("utf-8")
    assert [word for word in REPLACED[language] if word in text] == []
