"""The supervisor over workers that do next to nothing, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from crossover.service.workers.worker import Worker
from crossover.stack.services import IMPORTED_FROM

PATIENCE = 20.0
PROGRAM = """
import logging, os, signal, sys, time
from crossover.service.workers import supervisor
supervisor.STOP_SLACK_SECONDS = {slack}
logging.basicConfig(level="INFO", stream=sys.stderr, format="%(message)s")
def work(worker):
    os.write(1, b"%d %d\\n" % (worker.index, os.getpid()))  # at once: two processes write here
    {body}
sys.exit(supervisor.Supervisor(2, work, 0.0).run())
"""
WAITS = "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); time.sleep(60)"


@contextmanager
def supervised(body: str, slack: float = PATIENCE):
    """The supervisor's process; what its workers print is one line each: index and process id."""
    command = [sys.executable, "-c", PROGRAM.format(body=body, slack=slack)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=IMPORTED_FROM, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_worker(process) -> tuple[int, int]:
    index, pid = process.stdout.readline().split()
    return int(index), int(pid)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_one_that_ends_is_started_again_in_its_place(ending):
    """Whichever signal or exit code ends it; the others are left alone, and a stop signal ends them all with code 0."""
    with supervised(WAITS) as process:
        first = dict(next_worker(process) for _ in range(2))
        assert first.keys() == {0, 1}
        began = time.monotonic()
        os.kill(first[1], signal.SIGKILL)
        index, pid = next_worker(process)
        assert index == 1
        assert pid != first[1]
        assert time.monotonic() - began < PATIENCE
        os.kill(first[0], 0)
        process.send_signal(ending)
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(("body", "code"), [("return 2", 2), ("sys.exit('no')", None)])
def test_who_cannot_start_is_not_started_for_ever(body, code):
    """Exit code 2 at the first start ends the service with 2; any other end is tried again, with a growing pause."""
    with supervised(body) as process:
        if code is not None:
            assert process.wait(PATIENCE) == code
            return
        starts = [next_worker(process) for _ in range(6)]
        assert [index for index, _ in starts].count(0) == 3
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        assert "another one starts in 0.2 s" in process.stderr.read()


def test_who_does_not_stop_is_killed():
    """A worker that a stop signal does not end is killed after its time, which the exit code tells."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(1, b'deaf\\n'); time.sleep(60)"
    with supervised(deaf, slack=0.3) as process:
        for _ in range(4):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 1
        assert "are killed" in process.stderr.read()


def test_why_a_service_cannot_start_is_told_once(tmp_path, capsys):
    """All workers fail for what they share; one that is started anew later tells its own reason."""
    for worker in (Worker(0, 2, tmp_path), Worker(1, 2, tmp_path), Worker(1, 2, tmp_path, is_replacement=True)):
        worker.say(f"no certificate for {worker.is_replacement}")
    assert capsys.readouterr().err == "no certificate for False\nno certificate for True\n"
