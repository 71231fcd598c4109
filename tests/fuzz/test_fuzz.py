"""A bounded slice of `make fuzz`: the corpus and a few thousand inputs for each parser, the same each time, without atheris."""

from __future__ import annotations

import math

import pytest

from tests.fuzz import engine, native, seeded, wires
from tests.fuzz.targets import TARGETS

INPUTS = 250
MORE_INPUTS = 20_000


@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_keeps_its_promises(name):
    """For every input of the corpus, and a few hundred made of it, the parser does what its target says."""
    run(name, len(TARGETS[name].corpus()) + INPUTS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_parser_keeps_its_promises_for_longer(name):
    """The same for twenty thousand, and for inputs that repeat a part of themselves up to megabytes, in linear time."""
    run(name, MORE_INPUTS, engine.SCALED_EACH)


def run(name, inputs, scaled_each):
    finding = engine.run(TARGETS[name], inputs, math.inf, 0, engine.Count(), scaled_each)
    if finding is not None:
        raise AssertionError(f"{name}: {finding.data[:300]!r}") from finding.error


def test_every_corpus_belongs_to_a_target():
    """A folder of the corpus is one that a target reads."""
    from tests.fuzz.target import CORPUS

    assert {folder.name for folder in CORPUS.iterdir()} <= set(TARGETS)


async def test_wires_agree():
    """One meaning over every wire of the registry, in front of both gRPC servers, is one answer or one error."""
    calls, found = await wires.differences(60, 0, 120)
    assert not found, "\n".join(found)
    assert calls > 1000


def test_defects_that_are_seeded_have_their_place():
    """Each of the ten defects that the fuzzers must find changes something that is still there."""
    assert len(seeded.DEFECTS) >= 10
    assert list(seeded.stale()) == []


@pytest.mark.slow
@pytest.mark.parametrize("reader", native.READERS)
def test_native_readers_under_sanitizers(reader, tmp_path):
    """No input makes a native reader touch a byte that is not its own, or do what C leaves undefined."""
    if native.compiler() is None:
        pytest.skip("neither clang nor gcc with AddressSanitizer is installed")
    count, told = native.run(reader, 5, tmp_path)
    assert not told
    assert count > 1000
