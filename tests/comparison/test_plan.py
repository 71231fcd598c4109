"""`plan`: the arithmetic, what it says of figures that it does not have, and how near it comes to what was measured."""

from __future__ import annotations

import asyncio
import json
from itertools import count

import numpy as np
import pytest

from crossover.comparison.__main__ import main
from crossover.comparison.analysis.cost import Prices
from crossover.comparison.machine import cpu
from crossover.comparison.plan import arithmetic, figures
from crossover.comparison.plan.arithmetic import Wish, planned
from crossover.comparison.plan.figures import Figures, FiguresError, Point
from crossover.protocol.deadline import after
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from crossover.stack import fleet as fleets

FIGURES = Figures(
    "made up",
    {
        "grpc": {
            1000: [[0, 100.0, 200.0, 2000.0, 1.0], [1, 120.0, 240.0, 2000.0, 1.2]],
            3000: [[1, 140.0, 260.0, 6000.0, 1.4], [0, 120.0, 220.0, 6000.0, 1.2]],
        },
        "rest": {1000: [[0, 50.0, 60.0, None, 0.5]]},
    },
)


def test_between_two_payloads_a_block_is_interpolated_with_itself():
    """Blocks are matched by their number, whatever their order."""
    point = FIGURES.at("grpc", 2000)
    assert point.how == figures.BETWEEN
    assert point.gateway_us.tolist() == [110.0, 130.0]
    assert point.wire_bytes.tolist() == [4000.0, 4000.0]


@pytest.mark.parametrize(
    ("payload", "how", "gateway"),
    [(1000, figures.MEASURED, [100, 120]), (5000, figures.BEYOND, [140, 160]), (500, figures.BEYOND, [95, 115])],
)
def test_what_lies_outside_is_extended_and_marked(payload, how, gateway):
    """By the nearest two payloads."""
    point = FIGURES.at("grpc", payload)
    assert (point.how, point.gateway_us.tolist()) == (how, gateway)


@pytest.mark.parametrize(
    ("arm", "payload", "says"),
    [("grpc", 12_001, "measured up to 3000 bytes"), ("rest", 2000, "measured at 1000 bytes alone")],
)
def test_what_is_too_far_is_refused(arm, payload, says):
    """In a sentence that says what to measure."""
    with pytest.raises(FiguresError, match=says):
        FIGURES.at(arm, payload)


def test_the_arithmetic():
    """10,000 requests/s of 100 and 400 + 600 µs at 0.5 used: 2 and 20 cores, 0.16 Gbit/s, Little's 30 calls, one machine each 1 and 3."""
    point = Point(*(np.array([value]) for value in (100.0, 400.0, 2000.0, 2.4)), how=figures.MEASURED)
    wish = Wish(10_000, 1000, 0.6, vcpus=8, nic_gbit=10, prices=Prices(vcpu_hour=0.05, gigabyte=0.1, utilisation=0.5))
    plan = planned("grpc", point, wish)
    assert plan["cores"] == {
        "gateway": [None, pytest.approx(2), None],
        "model_server": [None, pytest.approx(20), None],
    }
    assert plan["machines"] == {"gateway": [None, 1, None], "model_server": [None, 3, None]}
    assert plan["connections"][1] == 40
    assert plan["under_way"][1] == pytest.approx(30)
    assert plan["hop_gbit"][1] == pytest.approx(0.16)
    assert plan["cost_per_hour"][1] == pytest.approx(22 * 0.05 + 36e6 * 2000 / 1e9 * 0.1)
    limits = {limit["what"]: limit["rps"][1] for limit in plan["limits"]}
    assert limits["one gateway process"] == pytest.approx(5000)
    assert limits["one model-server process"] == pytest.approx(500)
    assert limits["the network card of one machine"] == pytest.approx(10e9 / 16_000)
    assert limits["connections of one model-server port, 10,000"] == pytest.approx(10_000 * 5000)
    assert [limit["rps"][1] for limit in plan["limits"]] == sorted(limits.values())
    assert arithmetic.first_shared(plan)["what"] == "one machine of Envoy as L7"


def test_rest_has_a_connection_for_each_call_under_way():
    """HTTP/1.1 carries one call at a time; a gateway keeps one for each replica at least."""
    point = Point(*(np.array([value]) for value in (10.0, 10.0, 100.0, 500.0)), how=figures.MEASURED)
    wish = Wish(10_000, 100, 0.0)
    assert planned("rest", point, wish)["connections"][1] == pytest.approx(5000)
    assert planned("grpc", point, wish)["connections"][1] == 1


def test_the_interval_is_carried_through():
    """Blocks that differ by a fifth give plans that do; bytes that were not counted give no network."""
    plan = planned("grpc", FIGURES.at("grpc", 1000), Wish(1000, 1000, 0.0))
    low, mean, high = plan["cores"]["gateway"]
    assert low < mean < high
    assert mean == pytest.approx(1000 * 110e-6 / 0.6)
    plan = planned("rest", FIGURES.at("rest", 1000), Wish(1000, 1000, 0.0))
    assert plan["hop_gbit"] == [None, None, None]
    assert all("network card" not in limit["what"] for limit in plan["limits"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--rps", "0"], "--rps takes values from 0.001"), (["--rps", "nan"], "--rps takes values"),
        (["--payload", "0"], "--payload takes values from 1"), (["--model-ms", "-1"], "--model-ms takes values from 0"),
        (["--arms", "rest-unix"], "--arms: there are no figures for 'rest-unix'"),
        (["--vcpus", "0"], "--vcpus takes values from 1"), (["--utilisation", "2"], "--utilisation takes values"),
        (["--payload", "1000000000"], "grpc was measured up to"), (["--run", "nowhere"], "nowhere holds no run"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_one_sentence(capsys, given, says):
    """Exit code 2."""
    assert main(["plan", "--rps", "1000", "--payload", "1000", *given]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(says)
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["plan", "--rps", "many", "--payload", "1"], "plan: argument --rps: invalid float value: 'many'"),
        (["plan", "--rps", "1"], "plan: the following arguments are required: --payload"),
        (["run", "--view", "fleet", "--balancer", "l5"], "run: argument --balancer: invalid choice: 'l5'"),
        (["run", "--view", "fleet", "--event", "boom"], "run: argument --event: invalid choice: 'boom'"),
    ],
)
def test_what_is_no_argument_is_one_sentence(capsys, given, says):
    """Not a page of usage; exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(given)
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert says in printed.err
    assert printed.err.count("\n") == 1


def test_json_has_the_plan_and_the_figures_that_it_is_made_from(capsys):
    """So that another can reckon it again; that is how the published figures were kept."""
    assert main(["plan", "--rps", "1000000", "--payload", "16384", "--model-ms", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["figures"] == json.loads(figures.PUBLISHED.read_text())
    assert {"grpc", "rest-binary"} <= document["plans"].keys()


@pytest.mark.parametrize("arm", sorted(figures.published().arms))
def test_a_payload_that_was_left_out_is_found_again(arm):
    """Each payload between the others, planned from those alone: CPU within a quarter or 0.1 ms, bytes within 2 %."""
    known = figures.published().arms[arm]
    for payload in sorted(known)[1:-1]:
        measured = figures.published().at(arm, payload)
        rest = Figures("", {arm: {size: rows for size, rows in known.items() if size != payload}})
        found = rest.at(arm, payload)
        for name in ("gateway_us", "model_server_us"):
            one, other = float(getattr(found, name).mean()), float(getattr(measured, name).mean())
            assert abs(one - other) <= max(0.25 * other, 100), (payload, name)
        assert found.wire_bytes.mean() == pytest.approx(measured.wire_bytes.mean(), rel=0.02)


@pytest.mark.slow
def test_a_small_run_is_planned_from(tmp_path, capsys):
    """A plan at what a run measured, with all of the CPU used and no model, is the run's own CPU a request, at three points."""
    out = str(tmp_path / "run")
    asked = ["--payload", "256", "16384", "262144", "--arms", "grpc", "rest-binary", "--blocks", "2", "--turns", "2"]
    assert main(["run", *asked, "--slice", "0.3", "--out", out]) in {0, 4}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for payload in ("256", "16384", "262144"):
        capsys.readouterr()
        given = ["--rps", "1000000", "--payload", payload, "--utilisation", "1", "--run", out, "--json"]
        assert main(["plan", *given]) == 0
        plans = json.loads(capsys.readouterr().out)["plans"]
        for arm in summary["arms"]:
            if arm["payload_bytes"] != int(payload):
                continue
            cores = plans[arm["arm"]]["cores"]
            assert cores["gateway"][1] == pytest.approx(arm["cpu_us"]["gateway"], rel=0.01)
            assert cores["model_server"][1] == pytest.approx(arm["cpu_us"]["model server"], rel=0.01)
            assert plans[arm["arm"]]["hop_gbit"][1] == pytest.approx(arm["wire_bytes"] * 8 / 1000, rel=0.01)


PAYLOADS = (256, 16384, 262144)
RATE, SECONDS = 200, 4.0


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["grpc", "rest-binary"])
def test_a_fleet_takes_what_was_planned(tmp_path, capsys, arm):
    """Three model servers behind a gateway, at three payloads: the gateway takes what a run on one of each says within
    40 %, and the servers at most 1.8 times that, as each gets a third of the run's rate.
    """
    out = str(tmp_path / "run")
    sizes = list(map(str, PAYLOADS))
    asked = ["run", "--payload", *sizes, "--arms", arm, "rest", "--rate", str(RATE), "--blocks", "2", "--turns", "4"]
    assert main([*asked, "--slice", "0.5", "--out", out]) in {0, 4}
    capsys.readouterr()
    settings = {"MODEL_SERVER_GRPC_LIBRARY": "grpcio", "DATA_DIR": str(tmp_path), "LOG_LEVEL": "warning"}
    with fleets.running(3, settings) as fleet:
        fleet.start_gateway(GATEWAY_UPSTREAM=arm)
        for payload in PAYLOADS:
            given = [
                "--rps",
                str(1_000_000),
                "--payload",
                str(payload),
                "--utilisation",
                "1",
                "--run",
                out,
                "--arms",
                arm,
            ]
            assert main(["plan", *given, "--json"]) == 0
            planned_us = json.loads(capsys.readouterr().out)["plans"][arm]["cores"]
            taken = asyncio.run(taken_us(fleet, payload))
            with capsys.disabled():
                print(f"\n{arm}, {payload} bytes: planned {planned_us}, taken {taken} us a request")
            assert taken["gateway"] == pytest.approx(planned_us["gateway"][1], rel=0.4), payload
            assert 0.6 < taken["model_server"] / planned_us["model_server"][1] < 1.8, payload


async def taken_us(fleet, payload: int) -> dict[str, float]:
    """Microseconds of CPU a request of the gateway, and of all model servers together, at `RATE` requests a second."""
    request = InferRequest("identity", [Tensor.from_array("x", np.ones((1, payload // 4), np.float32))])
    client = connect("rest-binary", Target(rest=fleet.gateway_url))
    loop = asyncio.get_running_loop()
    try:
        for _ in range(30):
            await client.infer(request, CallContext(after(20)))
        before, began, calls = spent_ns(fleet), loop.time(), []
        for number in count():
            due = began + number / RATE
            if due > began + SECONDS:
                break
            await asyncio.sleep(due - loop.time())
            calls.append(asyncio.create_task(client.infer(request, CallContext(after(20)))))
        await asyncio.gather(*calls)
        return {name: (ns - before[name]) / 1000 / len(calls) for name, ns in spent_ns(fleet).items()}
    finally:
        await client.close()


def spent_ns(fleet) -> dict[str, int]:
    servers = sum(cpu.family_cpu_ns(replica.service.pid) for replica in fleet.replicas)
    return {"gateway": cpu.family_cpu_ns(fleet.gateway.pid), "model_server": servers}
