"""gRPC's polling thread pushes nobody off a CPU while its own turns come soon, and nobody else's scheduling changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from crossover.transport.grpcio import poller as grpc_poller
from crossover.transport.grpcio.poller import Patience, patient_poller

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="scheduling policies are Linux's")

POLICIES = """
import asyncio, contextlib, json, os, sys, threading
from crossover.clients import connect
from crossover.endpoints.grpc.serve import GrpcListener
from tests.fakes import RecordingInference

async def main():
    if sys.argv[1] == "server":
        listener = GrpcListener(RecordingInference(), "127.0.0.1", 0)
        await listener.start()
    else:
        client = connect("grpc", grpc="127.0.0.1:9")
        with contextlib.suppress(Exception):
            await client.ready(timeout=0.1)
    await asyncio.sleep(0.1)
    print(json.dumps({thread.name: os.sched_getscheduler(thread.native_id) for thread in threading.enumerate()}))

asyncio.run(main())
"""


LATE, SOON = 0.004, 0.0001
"""Seconds that a turn waits beside a busy program, and beside the event loop alone."""


def policies_of_poller(side: str, **environment: str) -> dict[str, int]:
    """The scheduling policies of the threads of a process that has a gRPC client or server, by their names."""
    ran = subprocess.run(
        [sys.executable, "-c", POLICIES, side],
        capture_output=True, text=True, timeout=60, check=True, env=os.environ | environment,
    )  # fmt: skip
    policies: dict[str, int] = json.loads(ran.stdout)
    return policies


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_poller_is_patient_and_nobody_else(side):
    """Client and server start grpc.aio's poller so that it does not preempt the event loop."""
    policies = policies_of_poller(side)
    assert {policies.pop(name) for name in ("MainThread", grpc_poller.WATCHER)} == {os.SCHED_OTHER}
    assert list(policies.values()) == [os.SCHED_BATCH]


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_system_s_choice_can_be_kept(side):
    """`CROSSOVER_GRPC_POLLER=system` changes no thread and starts none."""
    policies = policies_of_poller(side, CROSSOVER_GRPC_POLLER="system")
    assert set(policies.values()) == {os.SCHED_OTHER}
    assert grpc_poller.WATCHER not in policies


def test_turns_that_come_late_end_patience_for_longer_each_time():
    """Each late trial doubles the pause, up to about a minute."""
    patience, pauses = Patience(), []
    for _ in range(9):
        pauses.append(patience.look(20, 20 * LATE))
        assert not patience.patient
        patience.look(1000, 0.0)
        assert patience.patient
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_turns_that_come_soon_keep_patience_and_shorten_the_next_pause():
    """What is over is forgiven step by step."""
    patience = Patience()
    for _ in range(3):
        patience.look(20, 20 * LATE)
        patience.look(0, 0.0)
    for _ in range(2):
        patience.look(20, 20 * SOON)
        assert patience.patient
    assert patience.look(20, 20 * LATE) == 2


def test_a_few_turns_are_judged_together_with_the_next():
    """Nine turns say nothing; with one more they do."""
    patience = Patience()
    patience.look(9, 9 * LATE)
    assert patience.patient
    patience.look(1, LATE)
    assert not patience.patient


def test_what_an_impatient_poller_waited_is_not_held_against_it():
    """A trial is judged by its own turns."""
    patience = Patience()
    patience.look(20, 20 * LATE)
    patience.look(1000, 1000 * LATE)
    patience.look(20, 20 * SOON)
    assert patience.patient


def test_an_idle_poller_is_looked_at_seldom():
    """Nothing to judge, nothing to hurry for."""
    assert Patience().look(0, 0.0) > Patience().look(1, 0.0)


@pytest.fixture
def poller():
    """A thread that starts as grpc.aio's poller does."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    with patient_poller():
        thread.start()
    yield thread
    end.set()
    thread.join()


def comes_to_have(thread: threading.Thread, policy: int) -> bool:
    deadline = time.monotonic() + 20
    while os.sched_getscheduler(thread.native_id) != policy and time.monotonic() < deadline:
        time.sleep(0.01)
    return os.sched_getscheduler(thread.native_id) == policy


def test_a_poller_that_waits_is_impatient_until_it_no_longer_waits(monkeypatch, poller):
    """The thread follows what the kernel tells of it, both ways."""
    assert comes_to_have(poller, os.SCHED_BATCH)
    turns = iter(range(0, 1 << 30, 100))
    monkeypatch.setattr(grpc_poller, "_waits", lambda _: ((now := next(turns)), now * LATE))
    assert comes_to_have(poller, os.SCHED_OTHER)
    monkeypatch.setattr(grpc_poller, "_waits", lambda _: (next(turns), 0.0))
    assert comes_to_have(poller, os.SCHED_BATCH)


def test_waits_are_the_kernel_s_own_count():
    """A thread that was made to sleep has been put on a CPU again, and the wait for that is some part of the time."""
    began, thread = time.monotonic(), threading.current_thread()
    turns, waited = grpc_poller._waits(thread)
    for _ in range(5):
        time.sleep(0.001)
    turns_now, waited_now = grpc_poller._waits(thread)
    assert turns_now - turns >= 5
    assert 0 <= waited_now - waited <= time.monotonic() - began


def test_another_policy_is_left_alone(monkeypatch):
    """Whoever runs under a policy of his own choice keeps it, in his threads too."""
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("the policy was changed"))
    before, thread = set(threading.enumerate()), threading.Thread(target=time.sleep, args=(0.1,))
    with patient_poller():
        thread.start()
    assert set(threading.enumerate()) - before == {thread}
    thread.join()
