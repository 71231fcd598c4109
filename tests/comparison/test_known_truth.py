"""The load generator tells the truth about services whose truth is known."""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossover.comparison.design import outcomes as out
from crossover.comparison.design import schedule
from crossover.comparison.load.drive import Driver, Work
from crossover.comparison.load.generator import Generator, GeneratorError
from crossover.comparison.load.http1 import request_bytes
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor

SERVER = Path(__file__).with_name("known_server.py")


@contextlib.contextmanager
def known_server(service_us=0, stall_at=0, stall_ms=0, wrong_at=0):
    arguments = [str(value) for value in (service_us, stall_at, stall_ms, wrong_at)]
    with subprocess.Popen([sys.executable, SERVER, *arguments], stdout=subprocess.PIPE) as server:
        try:
            yield "127.0.0.1", int(server.stdout.readline())
        finally:
            server.terminate()
            server.wait(5)


def work(address, planned, concurrency=1, elements=64):
    x = Tensor.from_array("x", np.arange(elements, dtype=np.float32).reshape(1, -1))
    encoded = binary_codec.encode_request(InferRequest("identity", [x]))
    headers = {"inference-header-content-length": str(encoded.header_length)}
    request = request_bytes("POST", "/v2/models/identity/infer", "known", headers, b"".join(encoded.parts))
    expected = (out.Output("y", "FP32", x.shape, bytes(x.raw)),)
    return Work(address, [request], [expected], planned, concurrency)


@pytest.fixture
def driver():
    driver = Driver()
    yield driver
    driver.close()


def latency(record):
    return (record.requests[:, out.DONE] - record.requests[:, out.PLANNED]) / 1e6


def test_a_known_service_time_is_measured_as_such(driver):
    """A server that takes 5 ms is never seen to take less, and the quickest reply took hardly more."""
    with known_server(service_us=5000) as address:
        record = driver.run(work(address, schedule.poisson(20, 40, 1, seed=1)))
    service = (record.requests[:, out.DONE] - record.requests[:, out.SENT]) / 1e6
    assert (record.requests[:, out.OUTCOME] == out.OK).all()
    assert service.min() >= 5.0
    assert service.min() < 6.0


def test_a_stall_shows_in_the_tail(driver):
    """A stall of 300 ms delays every request planned meanwhile, and each one's latency says so (no omission)."""
    with known_server(stall_at=50, stall_ms=300) as address:
        record = driver.run(work(address, schedule.poisson(200, 200, 1, seed=2)))
    planned = record.requests[:, out.PLANNED]
    during = (planned >= planned[49]) & (planned < planned[49] + 300_000_000)
    assert during.sum() > 30
    expected = 300 - (planned[during] - planned[49]) / 1e6
    assert (latency(record)[during] >= expected - 1).all()
    assert np.median(latency(record)) < 50


def test_closed_loop_would_have_hidden_the_stall(driver):
    """The closed loop sees the same stall once only, which is why it is used where it is named so alone."""
    with known_server(stall_at=50, stall_ms=300) as address:
        record = driver.run(work(address, schedule.closed(200, 1, seed=2)))
    assert (latency(record) > 100).sum() == 1


def test_a_wrong_reply_is_caught(driver):
    """One flipped bit in one reply is one wrong answer, with a sentence."""
    with known_server(wrong_at=7) as address:
        record = driver.run(work(address, schedule.poisson(500, 20, 1, seed=3)))
    assert np.bincount(record.requests[:, out.OUTCOME], minlength=5).tolist() == [19, 0, 1, 0, 0]
    assert record.requests[6, out.OUTCOME] == out.WRONG
    assert "'y' differs" in record.complaint


def test_a_dead_service_is_data_not_a_crash(driver):
    """With nobody listening every request is a lost connection, and the reason is told."""
    with known_server() as address:
        pass
    record = driver.run(work(address, schedule.poisson(500, 5, 1, seed=4)))
    assert (record.requests[:, out.OUTCOME] == out.BROKEN).all()
    assert "refused" in record.complaint.lower()


def test_a_megabyte_each_way_arrives_bit_for_bit(driver):
    """Messages larger than any socket buffer are sent and received in pieces."""
    with known_server() as address:
        record = driver.run(work(address, schedule.closed(8, 1, seed=5), elements=1 << 19))
    assert (record.requests[:, out.OUTCOME] == out.OK).all()


def test_the_generator_keeps_its_plan(driver):
    """Requests are never sent before their time, and the record says how late each was."""
    with known_server() as address:
        record = driver.run(work(address, schedule.poisson(300, 150, 1, seed=6)))
    table = record.requests
    assert (table[:, out.WOKEN] >= table[:, out.PLANNED]).all()
    assert (table[:, out.SENT] >= table[:, out.WOKEN]).all()
    assert (np.diff(table[:, out.PLANNED]) >= 0).all()
    assert record.cpu_ns > 0


def test_the_generator_runs_in_a_process_of_its_own():
    """The handle drives slices in another process, and says so in a sentence when that is gone."""
    import os
    import signal

    with known_server() as address, Generator() as generator:
        assert generator.pid not in {0, os.getpid()}
        record = generator.run(work(address, schedule.poisson(300, 30, 1, seed=7)))
        assert (record.requests[:, out.OUTCOME] == out.OK).all()
        os.kill(generator.pid, signal.SIGKILL)
        with pytest.raises(GeneratorError, match="ended"):
            generator.run(work(address, schedule.poisson(300, 30, 1, seed=7)))
