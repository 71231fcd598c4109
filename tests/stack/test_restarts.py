"""Restarts behind a load balancer that repeats nothing: no request is lost on any upstream."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from crossover.comparison.torture.drain import Fleet, Load, haproxy
from crossover.protocol.wires import WIRES
from crossover.stack.services import ServiceProcess

UPSTREAMS = [name for name, wire in WIRES.items() if wire.kind != "process"]


def start(module: str, port: int, settings: Mapping[str, str]) -> ServiceProcess:
    return ServiceProcess(module, {"DRAIN_SECONDS": "2", **settings}, ("127.0.0.1", port))


def restarted_under_load(folder: Path, restarts: list[int], least: int) -> None:
    if haproxy() is None:
        pytest.skip("haproxy is missing; on Debian it is the package haproxy")
    stopping = threading.Event()
    with Fleet(folder, start) as fleet:
        loads = {upstream: [Load(fleet.front, upstream, stopping) for _ in range(2)] for upstream in UPSTREAMS}
        try:
            for number in restarts:
                assert fleet.restart(number) == 0
            while min(sum(load.answered for load in group) for group in loads.values()) < least:
                if any(load.failed for load in itertools.chain(*loads.values())):
                    break
                time.sleep(0.1)
        finally:
            stopping.set()
            for load in itertools.chain(*loads.values()):
                load.thread.join(60)
    failed = {upstream: [text for load in group for text in load.failed] for upstream, group in loads.items()}
    answered = {upstream: sum(load.answered for load in group) for upstream, group in loads.items()}
    told = [f"{upstream}: {len(texts)} failed, {texts[:3]}" for upstream, texts in failed.items() if texts]
    assert not told, "\n".join([str(answered), *told])


@pytest.mark.slow
def test_restarts_behind_a_proxy_lose_nothing(tmp_path):
    """Every service restarted once under load on every upstream: no request fails, and nobody repeats one."""
    restarted_under_load(tmp_path, [0, 1, 2, 3], 200)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_restarts_and_twenty_thousand_requests_on_each_upstream_lose_nothing(tmp_path):
    """The same at length."""
    restarted_under_load(tmp_path, [0, 1, 2, 3, 0, 1, 2, 3, 0, 2], 20_000)
