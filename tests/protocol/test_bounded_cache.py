"""What a peer sends again and again is remembered within bounds that no peer can move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.bounded_cache import BoundedCache


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60)), max_size=200))
def test_entries_and_bytes_stay_within_the_bounds(puts):
    """Whatever is put, entries and bytes stay bounded, and what is found is what was put last under its key."""
    cache: BoundedCache[int, tuple[int, int]] = BoundedCache(most_entries=8, most_entry_bytes=50, most_bytes=100)
    sizes: dict[int, int] = {}
    for order, (key, size) in enumerate(puts):
        cache.put(key, (order, size), size)
        if size <= 50:
            assert cache.get(key) == (order, size)
        found = {name: cache.get(name) for name in range(21)}
        sizes = {name: value[1] for name, value in found.items() if value is not None}
        assert len(sizes) == len(cache) <= 8
        assert sum(sizes.values()) <= 100
        assert all(each <= 50 for each in sizes.values())


def test_the_oldest_goes_first():
    """A full cache forgets what it has had for longest, not everything."""
    cache: BoundedCache[int, int] = BoundedCache(most_entries=2)
    for key in (1, 2, 3):
        cache.put(key, key, 1)
    assert [cache.get(key) for key in (1, 2, 3)] == [None, 2, 3]
