"""Requests are spread over as few streams as there are requests at once, up to a bound."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossover.clients.stream_pool import StreamPool


class Stream:
    def __init__(self) -> None:
        self.broken = False
        self.waiting: set[object] = set()


def pool_of(most: int) -> tuple[StreamPool[Stream], list[Stream]]:
    made: list[Stream] = []

    def open_one() -> Stream:
        made.append(Stream())
        return made[-1]

    return StreamPool(open_one, most), made


def test_one_after_the_other_needs_one():
    """Requests that do not overlap share one stream."""
    pool, made = pool_of(4)
    for _ in range(10):
        pool.give_back(pool.take())
    assert len(made) == 1


def test_a_broken_one_is_replaced():
    """A stream that broke takes no more requests, and leaves room for another."""
    pool, made = pool_of(1)
    pool.take().broken = True
    assert pool.take() is made[1]
    pool.give_back(made[1])
    made[1].broken = True
    assert pool.take() is made[2]


@given(st.lists(st.sampled_from(["take", "answer", "end", "break"]), max_size=60), st.integers(1, 4))
def test_whatever_happens_the_pool_stays_within_its_bound(steps, most):
    """No request is put on a stream that is broken, nor on a busy one while another could take it."""
    pool, made = pool_of(most)
    under_way: list[tuple[Stream, object]] = []
    for step in steps:
        if step == "take":
            live = [one for one in made if not one.broken]
            busy = {id(one) for one, _ in under_way}
            could = len(live) < most or any(id(one) not in busy for one in live)
            stream, token = pool.take(), object()
            assert not stream.broken
            assert not (could and id(stream) in busy)
            stream.waiting.add(token)
            under_way.append((stream, token))
        elif step == "break" and made:
            made[-1].broken = True
        elif under_way:
            stream, token = under_way[0]
            stream.waiting.discard(token)
            if step == "end":
                del under_way[0]
                pool.give_back(stream)
        assert sum(not stream.broken for stream in made) <= most
