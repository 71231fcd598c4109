"""Requirements are pinned, hashed, and say nothing about the machine on which they were pinned."""

from __future__ import annotations

import re

import pytest

SETS = (
    "serve", "lab", "dev", "clients", "models", "postgres", "guide", "otel", "deploy", "real-models", "fuzz", "fleet", "ray",
    "audit", "arms",
)  # fmt: skip
PIN = re.compile(r"^([\w.-]+(?:\[[\w,]+\])?==\S+(?: ; .+?)?) \\$", re.MULTILINE)


def pins(root, name):
    return set(PIN.findall((root / "requirements" / f"{name}.txt").read_text()))


@pytest.mark.parametrize("name", SETS)
def test_every_line_is_a_pin_with_hashes(root, name):
    """A requirement is one exact version, followed by the hashes of its files, and by nothing else."""
    text = (root / "requirements" / f"{name}.txt").read_text()
    assert pins(root, name)
    for line in text.splitlines():
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==\S+.* \\$|    --hash=sha256:[0-9a-f]{64}( \\)?$|    #", line), line
    for block in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("name", SETS)
def test_no_place_is_named(root, name):
    """Neither a host nor a path of the machine that pinned them stands in the files."""
    text = (root / "requirements" / f"{name}.txt").read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|@ |(?<![\w.])/\w", text)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("serve", "lab"),
        ("lab", "dev"),
        ("postgres", "dev"),
        ("guide", "dev"),
        ("otel", "dev"),
        ("deploy", "dev"),
        ("serve", "ray"),
    ],
)
def test_sets_agree(root, smaller, larger):
    """What is tested is what is served: a larger set holds the smaller one's very versions."""
    assert pins(root, smaller) - pins(root, larger) == set()


@pytest.mark.parametrize("name", SETS)
def test_what_is_asked_for_is_pinned(root, name):
    """A requirement added to an .in file has been pinned."""
    asked = (root / "requirements" / f"{name}.in").read_text()
    assert names(asked) - names("\n".join(pins(root, name))) == set()


def names(lines):
    return {name.lower().replace("_", "-") for name in re.findall(r"^\w[\w.-]*", lines, re.MULTILINE)}
