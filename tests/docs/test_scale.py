"""docs/scale.md: its commands print what it shows, and its prose names no figure that they don't."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

import pytest

from crossover.comparison.__main__ import main
from crossover.stack.services import ROOT
from tests import documents

PAGE = ROOT / "docs" / "scale.md"
BLOCKS = documents.blocks(PAGE.read_text("utf-8"))
PAIRS = [(one.text.strip(), other.text) for one, other in pairwise(BLOCKS)
         if one.language == "sh" and other.language == "text"]  # fmt: skip


@pytest.mark.parametrize(("command", "shown"), PAIRS, ids=[command for command, _ in PAIRS])
def test_every_command_prints_what_is_shown(capsys, command, shown):
    """From the published figures, so that it is the same everywhere; an ellipsis stands for lines that are left out."""
    assert main(shlex.split(command.removeprefix("python -m comparison "))) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    at = 0
    for line in shown.splitlines():
        if line.strip() != "...":
            assert line in printed[at:]
            at = printed.index(line, at) + 1


def test_there_are_commands():
    """The page walks with the tool, not beside it."""
    assert len(PAIRS) >= 3


def test_every_number_of_the_prose_is_shown():
    """Numbers of three digits that count, apart from those that it marks as the reader's own."""
    text = PAGE.read_text("utf-8")
    shown = "".join(block.text for block in BLOCKS).replace(",", "")
    prose = re.sub(r"\]\([^)]*\)|^\|.*$", "]", documents.FENCED.sub("", text), flags=re.MULTILINE)
    wanted = {number.replace(",", "") for number in re.findall(r"(?<![\w.])\d[\d,.]*\d(?!\w)", prose)}
    missing = {number for number in wanted if number not in shown}
    assert missing == set()
