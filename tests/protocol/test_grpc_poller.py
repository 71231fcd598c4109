"""gRPC's polling thread pushes nobody off a CPU, and nobody else's scheduling changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from protocol.grpc_poller import PATIENT, VARIABLE, patient_threads

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="scheduling policies are Linux's")

POLICIES = """
import asyncio, contextlib, json, os, sys, threading
from clients import connect
from endpoints.grpc.serve import GrpcListener
from tests.fakes import RecordingInference

async def main():
    if sys.argv[1] == "server":
        listener = GrpcListener(RecordingInference(), "127.0.0.1", 0)
        await listener.start()
    else:
        client = connect("grpc", grpc="127.0.0.1:9")
        with contextlib.suppress(Exception):
            await client.ready(timeout=0.1)
    print(json.dumps({thread.name: os.sched_getscheduler(thread.native_id) for thread in threading.enumerate()}))

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def asked_for(monkeypatch):
    """The environment asks for it."""
    monkeypatch.setenv(VARIABLE, PATIENT)


def policy_of_new_thread() -> int:
    found = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_inherit_it_inside_only():
    """What starts within is SCHED_BATCH; what starts afterwards, and whoever asks for it, is as before."""
    before = os.sched_getscheduler(0)
    with patient_threads():
        inside = policy_of_new_thread()
    assert (inside, policy_of_new_thread(), os.sched_getscheduler(0)) == (os.SCHED_BATCH, before, before)


def test_nothing_changes_unasked(monkeypatch):
    """Without the variable every thread is scheduled as the system has it."""
    monkeypatch.delenv(VARIABLE)
    before = os.sched_getscheduler(0)
    with patient_threads():
        assert (policy_of_new_thread(), os.sched_getscheduler(0)) == (before, before)


def test_another_policy_is_left_alone(monkeypatch):
    """Whoever runs under a policy of his own choice keeps it, in his threads too."""
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("the policy was changed"))
    with patient_threads():
        pass


@pytest.mark.parametrize("side", ["client", "server"])
def test_the_poller_has_it_and_the_loop_has_not(side):
    """Client and server start grpc.aio's poller so that it does not preempt the event loop."""
    ran = subprocess.run([sys.executable, "-c", POLICIES, side], capture_output=True, text=True, timeout=60, check=True)
    policies = json.loads(ran.stdout)
    assert policies.pop("MainThread") == os.SCHED_OTHER
    assert policies
    assert set(policies.values()) == {os.SCHED_BATCH}
