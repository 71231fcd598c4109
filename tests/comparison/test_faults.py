"""`faults`: what it makes of calls, how a pair is judged, what it refuses, and a short run with real processes."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time

import numpy as np
import pytest

from crossover.comparison.__main__ import main
from crossover.comparison.analysis.statistics import Interval
from crossover.comparison.faults import command, events, page, summary
from crossover.comparison.faults.calls import RIGHT, WRONG, Calls, Ended, first_right, identity, outcome_of
from crossover.comparison.faults.situation import seen
from crossover.comparison.network import hosts
from crossover.comparison.torture.frozen import Proxy
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferResponse
from crossover.protocol.tensors import Tensor


def ended(due, seconds=0.01, outcome=RIGHT):
    return Ended(due, due, due + seconds, outcome)


def situation(event="half-open", arm="grpc", block=0, failed=0, **more):
    figures = {
        "block": block, "arm": arm, "event": event, "calls": 100, "failed": {"UNAVAILABLE": failed} if failed else {},
        "wrong": 0, "recovered_s": 0.5, "lasted_s": 0.0, "goodput": 1 - failed / 100, "p99_ms": 3.0, "late_ms": 1.0,
    }  # fmt: skip
    return {**figures, **more}


def test_the_calls_of_a_situation_are_those_under_way_and_those_due_after():
    """A call that was sent before the fault and had no answer yet is lost to it; one that was answered is not."""
    calls = [
        ended(9.0), ended(9.99, 1.0, "DEADLINE_EXCEEDED"), ended(10.5, outcome="UNAVAILABLE"), ended(11.0, outcome=WRONG),
        ended(12.0, 0.25), ended(15.0, outcome="UNAVAILABLE"),
    ]  # fmt: skip
    found = seen(0, "grpc", "kill", calls, began=10.0, over=11.5, seconds=4.0, capacity=None)
    assert (found.calls, found.failed, found.wrong) == (4, {"DEADLINE_EXCEEDED": 1, "UNAVAILABLE": 1}, 1)
    assert found.recovered_s == pytest.approx(0.75)
    assert found.lasted_s == pytest.approx(1.5)
    assert found.goodput == 0.25
    assert found.p99_ms == pytest.approx(250)


def test_overload_is_held_against_the_capacity():
    """Half of twice the capacity is all of what can be given."""
    calls = [ended(10 + n / 100, outcome=RIGHT if n % 2 else "OVERLOADED") for n in range(100)]
    assert seen(0, "grpc", "overload", calls, 10.0, 11.0, 1.0, capacity=50.0).goodput == pytest.approx(1.0)


def test_who_began_before_the_end_of_the_cause_is_no_sign_of_recovery():
    """Only a call that began after it counts, and only a right answer."""
    calls = [ended(1.0, 5.0), ended(2.5, outcome="UNAVAILABLE"), ended(3.0, 0.5), ended(3.1, 0.1)]
    assert first_right(calls, 2.0) == pytest.approx(1.2)
    assert first_right(calls, 4.0) is None


class Echo:
    """Answers with the values of another call, too late, or not at all."""

    def __init__(self, does):
        self.does = does

    async def infer(self, request, context):
        return await self.does(request)


def reply(array):
    return InferResponse("identity", "1", [Tensor.from_array("y", np.asarray(array))])


@pytest.mark.parametrize(
    ("does", "outcome"),
    [
        (lambda request: reply(request.inputs[0].array), RIGHT),
        (lambda request: reply(identity(7).answer), WRONG),
        (lambda request: reply(np.zeros((1, 3), np.float32)), WRONG),
        (InferenceError(Code.UNAVAILABLE, "gone"), "UNAVAILABLE"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
        (RuntimeError("a stock library's"), "UNEXPECTED"),
    ],
)
async def test_what_a_call_comes_to(does, outcome):
    """An answer with another call's values is wrong; whatever a client raises is a failure of that call alone."""

    async def answer(request):
        if isinstance(does, Exception):
            raise does
        return does(request)

    assert await outcome_of(Echo(answer), identity(3), time.monotonic() + 1) == outcome


async def test_calls_leave_when_they_are_due():
    """Nobody's silence holds up the others: an open loop."""
    stop = asyncio.Event()

    async def never(request):
        await stop.wait()
        return reply(request.inputs[0].array)

    calls = Calls(Echo(never), 100.0, identity)
    load = asyncio.create_task(calls.run(stop))
    await asyncio.sleep(0.2)
    assert calls.ended == []
    stop.set()
    await load
    assert len(calls.ended) > 5
    assert {call.outcome for call in calls.ended} == {RIGHT}


def test_rows_have_an_interval_over_blocks():
    """Where every block says 0, the interval is that of all calls: none of 300 failed is not "never"."""
    found = summary.rows(
        [situation(block=n, failed=20 + n) for n in range(3)] + [situation(block=n, arm="rest") for n in range(3)]
    )
    grpc, rest = found
    low, mean, high = grpc["failed_share"]
    assert (low < mean < high, mean) == (True, pytest.approx(0.21))
    assert rest["failed_share"][0] == 0.0
    assert rest["failed_share"][2] == pytest.approx(1 - 0.025 ** (1 / 300))
    assert grpc["failed"] == {"UNAVAILABLE": 63}
    assert grpc["never"] == 0


def test_what_never_came_back_is_counted():
    """The mean is of the blocks in which it did."""
    (row,) = summary.rows([situation(recovered_s=None), situation(block=1, recovered_s=2.0), situation(block=2)])
    assert row["recovered_s"][1] == 1.25
    assert page.cell(row, *page.COLUMNS[2][::2])[1].endswith("never in 1 of 3")


@pytest.mark.parametrize(
    ("interval", "p_value", "verdict"),
    [
        ((0.2, 0.3, 0.4), 0.01, "REST"), ((-0.4, -0.3, -0.2), 0.01, "gRPC"), ((-0.1, 0.2, 0.5), 0.2, "undecided"),
        ((0.2, 0.3, 0.4), 0.06, "undecided"), ((-0.002, 0.0, 0.002), 1.0, "equal"),
    ],
)  # fmt: skip
def test_which_side_loses_less(interval, p_value, verdict):
    """More failed calls on gRPC's side means that REST loses less; several questions need a smaller p-value."""
    assert summary.verdict(Interval(*interval), p_value).lower() == verdict.lower()


def test_pairs_are_judged_by_the_blocks_that_both_have():
    """Two blocks decide nothing, and a late generator withholds the verdict."""
    blocks = [situation(block=n, failed=60 + n) for n in range(4)]
    rest = [situation(block=n, arm="rest-binary") for n in range(3)]
    (found,) = summary.judgements(blocks + rest)
    assert (found["blocks"], found["verdict"]) == (3, "REST")
    assert page.sentence(found).startswith("half-open: rest-binary loses less; grpc failed +61.0 (")
    (found,) = summary.judgements(blocks[:2] + rest)
    assert (found["blocks"], found["verdict"]) == (2, "undecided")
    late = [situation(block=n, arm="rest-binary", late_ms=200.0) for n in range(3)]
    (found,) = summary.judgements(blocks + late)
    assert (found["verdict"], found["withheld"]) == ("undecided", "the generator was 200 ms late")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--arms", "inprocess"], "arm 'inprocess' does not go with faults"),
        (["--arms", "grpc-unix"], "arm 'grpc-unix' does not go with faults"),
        (["--arms", "control"], "arm 'control' does not go with faults"),
        (["--arms", "carrier-pigeon"], "--arms: 'carrier-pigeon' is not an arm"),
        (["--blocks", "0"], "--blocks takes values from 1"),
        (["--seconds", "0.5"], "--seconds takes values from 1"),
        (["--seconds", "nan"], "--seconds takes values from 1"),
        (["--continue", "nowhere"], "--continue: 'nowhere' holds no run of faults"),
        (["--continue", "nowhere", "--arms", "grpc"], "--arms does not go with --continue"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, tmp_path, given, says):
    """Exit code 2, before anything starts."""
    out = [] if "--continue" in given else ["--out", str(tmp_path / "out")]
    assert main(["faults", *given, *out]) == 2
    assert capsys.readouterr().err.startswith(says)
    assert not (tmp_path / "out").exists()


def test_loss_is_left_out_where_no_network_can_be_had(monkeypatch, capsys, tmp_path):
    """And a run that has nothing else is refused with the reason."""
    monkeypatch.delenv(hosts.INSIDE, raising=False)
    monkeypatch.setattr(hosts, "why_not", lambda: "there is no network namespace")
    assert main(["faults", "--events", "loss", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == "loss: skipped, there is no network namespace\n"


def test_a_run_goes_on_after_its_whole_blocks(tmp_path):
    """A block that was not finished begins anew."""
    kept = {
        "arms": ["grpc", "rest"], "events": ["kill"], "blocks": 2, "seconds": 2.0, "seed": 1, "notes": [], "command": "x",
        "seen": [situation("kill"), situation("kill", "rest"), situation("kill", block=1)],
    }  # fmt: skip
    (tmp_path / command.SAMPLES).write_text(json.dumps(kept))
    given = type(
        "Given", (), dict.fromkeys(("arms", "events", "seconds", "out")) | {"goes_on": tmp_path, "blocks": 3}
    )()
    document, out = command._continued(given)
    assert (document["blocks"], len(document["seen"]), out) == (4, 2, tmp_path)


def test_every_event_is_in_the_summary_s_order():
    """The table of events and the order of rows are one list."""
    assert tuple(events.EVENTS) == summary.EVENTS


def test_a_slow_reader_takes_little_at_a_time():
    """4 KB of a connection twenty times a second, however much there is."""
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(listener.getsockname()[1]) as proxy:
        proxy.trickle()
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as near:
            far, _ = listener.accept()
            with far:
                began = time.monotonic()
                far.sendall(bytes(100_000))
                received = sum(len(near.recv(1 << 16)) for _ in range(4))
                rounds = (time.monotonic() - began) / 0.05 + 2
                assert 0 < received <= 4096 * rounds


@pytest.mark.slow
def test_half_open_connections_cost_what_shares_them(capsys, tmp_path):
    """gRPC's calls share one connection, REST's do not; `report` makes the same again."""
    out = tmp_path / "out"
    given = ["--arms", "grpc", "rest-binary", "--events", "half-open", "--blocks", "2", "--seconds", "4"]
    assert main(["faults", *given, "--out", str(out)]) == 0
    text = (out / "summary.json").read_text()
    rows = {row["arm"]: row for row in json.loads(text)["rows"]}
    assert all(row["wrong"] == 0 for row in rows.values())
    assert rows["grpc"]["failed_share"][1] > rows["rest-binary"]["failed_share"][1] > 0
    assert rows["grpc"]["recovered_s"][1] < 4
    assert math.isfinite(rows["rest-binary"]["goodput"][1])
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", str(out)]) == 0
    assert (out / "summary.json").read_text() == text
    assert "half-open" in capsys.readouterr().out
