"""Every parser is linear in the body, whatever the body is: twice as long costs twice as much, never four times."""

from __future__ import annotations

import time

import pytest

from crossover.protocol.errors import InferenceError
from tests.protocol.codecs.hostile import SHAPES

pytestmark = pytest.mark.usefixtures("settled_collector")

SIZES = (64 << 10, 512 << 10)
LARGE = (1 << 20, 4 << 20, 16 << 20, 64 << 20)
MARGIN = 3.0
"""Times the growth of the size that the time may grow by: caches, page faults and a busy machine; 16 times is quadratic."""
NOTHING = 0.02
"""CPU seconds below which growth says nothing."""


def seconds(shape, size: int) -> float:
    """Thread CPU seconds of one decoding, the better of two."""
    body = shape.make(size)
    spent = []
    for _ in range(2):
        began = time.thread_time()
        try:
            shape.decode(body)
        except InferenceError:
            pass
        spent.append(time.thread_time() - began)
    return min(spent)


def grows_as_the_size(shape, sizes) -> None:
    small, *others = [(size, seconds(shape, size)) for size in sizes]
    for size, spent in others:
        allowed = max(small[1], NOTHING * small[0] / sizes[0]) * (size / small[0]) * MARGIN
        assert spent <= allowed, f"{size} bytes took {spent:.3f} s, {small[0]} took {small[1]:.4f} s"


@pytest.mark.parametrize("name", SHAPES)
def test_a_hostile_body_costs_what_its_size_costs(name):
    """From 64 to 512 KB: CPU time grows as the body does, and no body is more than a message or an InferenceError."""
    grows_as_the_size(SHAPES[name], SIZES)


def test_there_are_a_hundred_shapes():
    """Each parser has shapes of its own, and together there are more than a hundred."""
    assert len(SHAPES) > 100
    parsers = ("json", "binary", "raw", "protobuf", "v1", "http1", "http2", "grpc", "config", "cursor")
    assert {name.partition(":")[0] for name in SHAPES} == set(parsers)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_large_hostile_body_costs_what_its_size_costs(name):
    """The same up to 64 MB."""
    grows_as_the_size(SHAPES[name], LARGE)
