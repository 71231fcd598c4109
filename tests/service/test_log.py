"""What a service's log says: one line a record, whatever the values hold."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol import names
from crossover.protocol.errors import Code, InferenceError
from crossover.service.process import LogFormatter


@pytest.fixture(scope="module")
def written():
    """What a record becomes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter())
    logger = logging.getLogger("crossover.test-of-lines")
    logger.propagate = False
    logger.addHandler(handler)

    def write(text, *values, **given):
        stream.seek(0)
        stream.truncate()
        logger.error(text, *values, **given)
        return stream.getvalue()

    return write


@given(st.text())
def test_a_record_is_one_line(written, value):
    """No value makes a second line, or turns what follows it round."""
    said = written("the model '%s' failed", value)
    assert said.count("\n") == 1
    assert len(said.splitlines()) == 1
    assert names.is_clean(said[:-1])


def test_a_traceback_is_indented(written):
    """An exception's text makes no line that looks like a record, and paths begin at our own folder."""
    try:
        raise RuntimeError("bad\n12:00:00 INFO    crossover: all is well\r\x1b[2J")
    except RuntimeError:
        said = written("it failed", exc_info=True)
    first, *rest = said.rstrip("\n").split("\n")
    assert first.endswith("crossover.test-of-lines: it failed")
    assert all(line.startswith("    ") and names.is_clean(line) for line in rest)
    assert str(Path(__file__).resolve().parent.parent.parent) + "/" not in said
    assert sys.base_prefix + "/" not in said


@pytest.mark.parametrize(
    "name", ["x\nINFO crossover", "a\x00", "\x7f", "\x9b31m", "a\u2028b", "\u202egnp", "\r", "\x1b[0m", "\t"]
)
def test_control_characters_are_not_names(name):
    """Such a name is INVALID_ARGUMENT, and the sentence shows it escaped."""
    with pytest.raises(InferenceError) as caught:
        names.check_model_name(name)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert names.is_clean(caught.value.message)


@pytest.mark.parametrize("name", ["digits", "숫자", "a b", "ünïcode", "a:b", "x%0a", "模型\u3000", "🙂", ""])
def test_what_is_printed_is_a_name(name):
    """Every script, blanks and punctuation are names."""
    assert names.check_model_name(name) == name
