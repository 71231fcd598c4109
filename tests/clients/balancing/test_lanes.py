"""Connections to one address behind which several workers share the port."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from crossover.clients.balancing import lanes
from crossover.clients.balancing.targets import Endpoint


@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_worker_is_reached_at_once(monkeypatch, count):
    """Lanes that share a worker connect anew, by chance, until each has one of its own; no time passes, and then none does."""
    monkeypatch.setattr(lanes, "time", SimpleNamespace(monotonic=lambda: 0.0))
    chance = random.Random(count)
    endpoints = lanes.laned([Endpoint("a:1")], count)
    replicas = {each: SimpleNamespace(usable=True, worker=(chance.randrange(count), count)) for each in endpoints}
    spread = lanes.Spread(count)
    while found := spread.surplus(replicas):
        for endpoint in found:
            replicas[endpoint].worker = (chance.randrange(count), count)
    assert sorted(replica.worker[0] for replica in replicas.values()) == list(range(count))


def test_a_worker_that_never_comes_costs_little(monkeypatch):
    """A series of connections is followed by a pause that grows; a worker that comes after all is looked for anew."""
    now = 0.0
    monkeypatch.setattr(lanes, "time", SimpleNamespace(monotonic=lambda: now))
    replicas = {each: SimpleNamespace(usable=True, worker=(0, 2)) for each in lanes.laned([Endpoint("a:1")], 2)}
    spread = lanes.Spread(2)
    tried = []
    while now < 200.0:
        tried += [now] * len(spread.surplus(replicas))
        now += 0.125
    series = 2 * lanes.TRIES_EACH
    assert tried[series - 1] < lanes.FIRST_PAUSE_SECONDS
    assert len(tried) <= series * (200 / lanes.LONGEST_PAUSE_SECONDS + 3)


def test_no_lane_is_moved_that_has_no_better_place():
    """A server of fewer workers than lanes has them divided evenly; one that does not say has them as they are."""
    endpoints = lanes.laned([Endpoint("a:1"), Endpoint("b:1")], 4)
    even = [SimpleNamespace(usable=True, worker=(lane % 2, 2)) for lane in range(8)]
    assert lanes.Spread(4).surplus(dict(zip(endpoints, even, strict=True))) == []
    silent = [SimpleNamespace(usable=True, worker=None)] * 8
    assert lanes.Spread(4).surplus(dict(zip(endpoints, silent, strict=True))) == []


def test_a_unix_socket_is_one_process():
    """There is nothing behind it to be spread over."""
    assert lanes.laned([Endpoint("unix:/run/a.sock"), Endpoint("a:1")], 2) == [
        Endpoint("unix:/run/a.sock"), Endpoint("a:1"), Endpoint("a:1", lane=1),
    ]  # fmt: skip


def test_the_extension_says_who_answers():
    """What the server adds is what the client reads; other extensions are none of it."""
    assert lanes.worker_of(["statistics", lanes.extension(3, 8)]) == (3, 8)
    assert lanes.worker_of(["statistics", "worker_x_of_2"]) is None
