"""Several load generators share a slice: nothing is lost, planned times stay, and the gates hold for each."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

sys.path.insert(0, str(Path(__file__).parent))
from test_known_truth import known_server, work

from crossover.comparison.__main__ import main
from crossover.comparison.analysis import gates
from crossover.comparison.analysis.measures import Bin
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import schedule
from crossover.comparison.design.samples import SliceLine
from crossover.comparison.load.generator import Generators, joined, shares


@given(count=some.integers(1, 40), parts=some.integers(2, 5), callers=some.integers(5, 9), open_loop=some.booleans())
def test_shares_joined_are_the_whole_slice(count, parts, callers, open_loop):
    """Every request is in one share, at its planned time, and comes back to its place; all connections are given out."""
    whole = schedule.poisson(100, count, 3, 1) if open_loop else schedule.closed(count, 3, 1)
    parts = min(parts, count)
    split = shares(work(("", 0), whole, callers), parts, 7)
    assert sum(part.concurrency for part in split) == callers
    records = []
    for part in split:
        table = out.empty(part.schedule.count)
        table[:, out.PLANNED] = part.schedule.variants if part.schedule.offsets_ns is None else part.schedule.offsets_ns
        records.append(out.Record(table, 10, 100, opened=1))
    record = joined(records)
    wanted = whole.variants if whole.offsets_ns is None else whole.offsets_ns
    assert record.requests[:, out.PLANNED].tolist() == wanted.tolist()
    assert (record.cpu_ns, record.wall_ns, record.opened) == (10 * parts, 100, parts)
    assert record.generators == [0.1] * parts


def test_two_processes_drive_one_slice():
    """All requests are answered rightly, at the planned times of one common start."""
    planned = schedule.poisson(100, 20, 1, seed=3)
    with known_server() as one, Generators("crossover.comparison.load.drive:Driver", 2) as generators:
        record = generators.run(work(one, planned, 1))
        assert record.generators == []
    assert (record.requests[:, out.OUTCOME] == out.OK).all(), record.complaint
    with Two() as address, Generators("crossover.comparison.load.drive:Driver", 2) as generators:
        record = generators.run(work(address, planned, 2))
    assert (record.requests[:, out.OUTCOME] == out.OK).all(), record.complaint
    assert len(record.generators) == 2
    starts = record.requests[:, out.PLANNED] - planned.offsets_ns
    assert len(set(starts.tolist())) == 1
    assert (record.requests[:, out.WOKEN] >= record.requests[:, out.PLANNED]).all()


class Two:
    """A port whose connections go to known servers of their own in turn, since each of those serves one at a time."""

    def __enter__(self):
        import contextlib
        import socket
        import threading

        self._stack = contextlib.ExitStack()
        targets = [self._stack.enter_context(known_server()) for _ in range(2)]
        self._listener = socket.create_server(("127.0.0.1", 0))

        def copy(one, other):
            with contextlib.suppress(OSError):
                while data := one.recv(65536):
                    other.sendall(data)
                other.shutdown(socket.SHUT_WR)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = self._listener.accept()
                    other = socket.create_connection(targets[accept.count % 2])
                    accept.count += 1
                    for pair in ((connection, other), (other, connection)):
                        threading.Thread(target=copy, args=pair, daemon=True).start()

        accept.count = 0
        threading.Thread(target=accept, daemon=True).start()
        return self._listener.getsockname()

    def __exit__(self, *_):
        self._listener.close()
        self._stack.close()


def _bin(late_us, busy):
    """A slice of two generators of which the second was late, or one busy."""
    table = out.empty(400)
    table[:, out.PLANNED] = np.arange(400) * 10**6 + 10**9
    table[:, out.WOKEN] = table[:, out.SENT] = table[:, out.PLANNED]
    table[1::2, out.WOKEN] += late_us * 1000
    table[:, out.DONE], table[:, out.OUTCOME] = table[:, out.PLANNED] + 10**6, out.OK
    line = SliceLine(0, 0, "grpc", 0, 0, {"generator": int(sum(busy) * 1e9)}, 10**9, None, 0, 0, 0, generators=busy)
    return Bin([line], [table])


@pytest.mark.parametrize(
    ("late_us", "busy", "failed"),
    [(0, [0.5, 0.6], set()), (0, [0.1, 0.9], {"generator busy"}),
     (100, [0.1, 0.1], {"generator late (p50)"})],
)  # fmt: skip
def test_the_gates_hold_for_each_generator(late_us, busy, failed):
    """One that is late or busy is enough; two that use 60 % of a CPU each are no bottleneck."""
    found = {gate.name for gate in gates.gates([_bin(late_us, busy)]) if not gate.passed}
    assert found == failed


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--generators", "0"), "--generators takes values from 1 to 64"),
        (("--generators", "4", "--concurrency", "2"), "--generators 4 takes --concurrency 4 or more"),
        (("--generators", "2", "--view", "hop"), "--generators goes with --view end-to-end"),
    ],
)
def test_what_cannot_be_shared_is_one_sentence(flags, said, tmp_path, capsys):
    """Exit code 2 before anything starts."""
    assert main(["run", *flags, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
