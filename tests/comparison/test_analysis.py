"""From raw samples to the summary: what is said follows from what was measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.analysis.measures import Measures
from crossover.comparison.analysis.summary import CELL_FIELDS, SCHEMA
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import naming, samples
from crossover.comparison.design import outcomes as out
from crossover.comparison.design.cells import Cell
from crossover.comparison.experiment import alone
from crossover.comparison.report import words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def summary(folder):
    return Analysis(samples.read(folder)).summary()


def cell(summary, pair, metric, payload):
    return next(
        c for c in summary["cells"] if c["pair"] == pair and c["metric"] == metric and c["payload_bytes"] == payload
    )


def test_the_summary_has_the_contracts_fields(summary):
    """Every cell has every field of the contract, a known verdict, and the document is JSON without NaN."""
    assert summary["schema"] == SCHEMA
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    for found in summary["cells"]:
        assert set(CELL_FIELDS) <= found.keys()
        assert found["verdict"] in {"grpc", "rest", "equal", "undecided", "invalid"}


@pytest.mark.parametrize(
    ("payload", "ratio", "verdict"), [(256, 1.1 / 0.9, "rest"), (16384, 1.1, "rest"), (1 << 20, 0.75, "grpc")]
)
def test_the_drawn_ratio_is_found(summary, payload, ratio, verdict):
    """The interval of the ratio holds the drawn one, and the verdict names the side that was drawn better."""
    found = cell(summary, ["grpc", "rest-binary"], "p50", payload)
    assert found["ci"][0] <= ratio <= found["ci"][1]
    assert found["verdict"] == verdict


def test_lines_of_cells_differ_in_one_thing():
    """Two payloads by two numbers of connections are two lines over each, and none over the rate."""
    cells = [Cell(size, n, 100.0, load=0.3) for size in (256, 1024) for n in (1, 64)]
    assert naming.lines(cells, "payload") == [("1 connection", [0, 2]), ("64 connections", [1, 3])]
    assert naming.lines(cells, "concurrency") == [("256 B", [0, 1]), ("1 KB", [2, 3])]
    assert naming.lines(cells, "rate") == []


def test_a_load_that_follows_from_the_network_is_no_condition():
    """Where a slow network made the load another one, cells are named by the network alone."""
    cells = [Cell(256, 64, 100.0, "loopback", load=0.3), Cell(256, 64, 2.0, "region", load=0.5)]
    assert naming.conditions(cells) == ["loopback", "region"]
    assert naming.conditions([*cells, Cell(256, 64, 200.0, "loopback", load=0.6)])[0] == "loopback, 30% of capacity"


def test_the_flip_is_found_between_the_right_payloads(summary):
    """REST is better up to 16 KB and gRPC at 1 MB, so the crossing lies between, and the words say so."""
    (found,) = [c for c in summary["crossovers"] if c["pair"] == ["grpc", "rest-binary"] and c["metric"] == "p50"]
    (crossing,) = found["crossings"]
    assert crossing["between"] == [16384, 1 << 20]
    assert any("flips between 16 KB" in line for line in words.verdict(summary))


def test_the_causes_add_up_to_the_gap(summary):
    """The parts of each gap sum to it, and JSON text is the largest part of REST's loss at 1 MB."""
    for found in summary["causes"]:
        assert sum(part["amount"][1] for part in found["parts"]) == pytest.approx(found["gap"])
    (big,) = [
        c
        for c in summary["causes"]
        if c["pair"] == ["grpc", "rest"] and c["payload_bytes"] == 1 << 20 and c["metric"] == "p50"
    ]
    assert big["parts"][-1]["step"] == ["rest-binary", "rest"]
    assert big["parts"][-1]["amount"][1] == pytest.approx(4 - 40, rel=0.2)


def test_controls_are_reported_and_hold(summary):
    """The A/A pair and the known delay are in the summary for every payload, and the drawn delay is recovered."""
    again = [c for c in summary["controls"]["again"] if c["metric"] == "p50"]
    assert [c["payload_bytes"] for c in again] == list(synthetic.PAYLOADS)
    delays = summary["controls"]["known_delay"]
    assert {(c["metric"], c["status"]) for c in delays} == {("alone", "recovered"), ("alone_cpu", "recovered")}
    assert len(delays) == 2 * len(synthetic.PAYLOADS)


def test_percentiles_without_interval_are_not_given(summary):
    """Where there are too few requests for an interval of p99, there is no p99."""
    rows = {(row["arm"], row["payload_bytes"]): row["percentiles_ms"] for row in summary["arms"]}
    assert "p99.9" in rows["grpc", 256]
    assert "p99" not in rows["grpc", 1 << 20]
    low, estimate, high = rows["grpc", 256]["p99"]
    assert low <= estimate <= high


def test_a_wrong_answer_makes_its_cells_invalid(tmp_path):
    """One wrong reply is data in the verdict: every cell of that arm is invalid, and the reason is told."""
    found = Analysis(samples.read(synthetic.write(tmp_path, wrong="rest-binary"))).summary()
    judged = cell(found, ["grpc", "rest-binary"], "p50", 256)
    assert (judged["verdict"], judged["ratio"]) == ("invalid", None)
    assert "wrong answers" in judged["reason"]
    assert cell(found, ["grpc", "rest"], "p50", 256)["verdict"] != "invalid"


def test_a_wrong_reply_that_ended_the_run_makes_every_cell_invalid(tmp_path):
    """It may have come between two slices, where no sample holds it: the reason stands in every cell all the same."""
    found = Analysis(samples.read(synthetic.write(tmp_path)), wrong="arm 'rest' gave a wrong reply").summary()
    assert {(cell["verdict"], cell["reason"]) for cell in found["cells"]} == {
        ("invalid", "arm 'rest' gave a wrong reply")
    }


def test_a_late_generator_invalidates_latency_but_not_bytes(tmp_path):
    """When requests left 0.5 ms late, latencies are invalid; the byte counts still stand."""
    found = Analysis(samples.read(synthetic.write(tmp_path, late_us=500))).summary()
    assert cell(found, ["grpc", "rest-binary"], "p50", 256)["verdict"] == "invalid"
    assert cell(found, ["grpc", "rest"], "message_bytes", 256)["verdict"] == "grpc"
    assert any("generator late" in line for line in words.warnings(found))


def test_equal_arms_are_not_called_different(tmp_path):
    """With wide noise the A/A resolution keeps small differences undecided or equal."""
    found = Analysis(samples.read(synthetic.write(tmp_path, noise=0.2, seed=3))).summary()
    assert cell(found, ["grpc", "rest-binary"], "p50", 16384)["verdict"] in {"undecided", "equal"}


def test_the_same_samples_give_the_same_summary(folder, summary):
    """The analysis is a function of the raw samples."""
    assert Analysis(samples.read(folder)).summary() == summary


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    """Reading a folder that holds no run says so."""
    with pytest.raises(samples.SamplesError, match="holds no run"):
        samples.read(tmp_path)


def test_a_run_without_controls_says_so(tmp_path):
    """A single block gives no intervals, no controls, and no verdict but undecided."""
    found = Analysis(samples.read(synthetic.write(tmp_path, blocks=1))).summary()
    assert {c["verdict"] for c in found["cells"]} == {"undecided"}
    assert words.controls(found) == ["This run had no controls (the arms grpc-again and control were left out)."]


def test_calls_with_and_without_the_delay_take_turns():
    """Each arm comes once a turn, in an order that is drawn: no row of slow calls, whose wake-ups are dearer."""
    drawn = alone.turns(["grpc", "control"], 200, 1)
    assert all(sorted(turn) == ["control", "grpc"] for turn in drawn)
    assert 60 < drawn.count(["grpc", "control"]) < 140
    assert drawn == alone.turns(["grpc", "control"], 200, 1)


def test_turns_go_on_until_their_differences_lie_close_enough():
    """Twenty turns say a delay of 400 µs where they lie within tens of µs, and do not where they lie apart by as much as it."""
    random = np.random.default_rng(3)
    assert alone.is_close(400e3 + random.normal(0, 20e3, alone.BATCH), 400_000)
    assert not alone.is_close(400e3 + random.normal(0, 400e3, alone.BATCH), 400_000)
    assert alone.is_close(400e3 + random.normal(0, 400e3, 40 * alone.BATCH), 400_000)
    assert not alone.is_close([400e3] * 3, 400_000)


def _alone(measures, block, arm, microseconds):
    """Calls one at a time that took so many µs, of time and of CPU."""
    table = out.empty(len(microseconds))
    table[:, out.SENT] = 10**9
    table[:, out.DONE] = 10**9 + (microseconds * 1000).astype(int)
    table[:, out.OUTCOME] = out.OK
    line = samples.SliceLine(
        block, 0, arm, 0, 0, {}, 10**9, None, 0, 0, 0, kind=samples.ALONE,
        calls_cpu_ns=[int(1000 * value) for value in microseconds],
    )  # fmt: skip
    found = measures._alone[0, arm, block]
    found.lines.append(line)
    found.tables.append(table)


@pytest.mark.parametrize("metric", ["p50", "cpu"])
def test_a_delay_is_found_closely_although_the_machine_becomes_twice_as_slow(metric):
    """What two calls of a turn met alike is in no difference of theirs."""
    random = np.random.default_rng(7)
    measures = Measures(samples.Samples(None, [], [], [], [], ""))
    for block in range(6):
        drift = np.linspace(1000, 2000, 60)
        for arm, delay_us in (("grpc", 0), ("control", 200)):
            _alone(measures, block, arm, drift + random.normal(0, 15, 60) + delay_us)
    shifts = measures.shifts_us(0, "control", "grpc", metric)
    assert len(shifts) == 6
    assert max(abs(shift - 200) for shift in shifts) < 20


def test_a_delay_is_found_where_times_have_two_modes():
    """A busy machine that doubles one time in two moves the difference of medians, not the centre of the differences."""
    random = np.random.default_rng(5)
    measures = Measures(samples.Samples(None, [], [], [], [], ""))
    for block in range(8):
        for arm, delay_us in (("grpc", 0), ("control", 400)):
            slow = random.random(60) < random.uniform(0.3, 0.7)
            _alone(measures, block, arm, 1500 + slow * 1500 + random.normal(0, 50, 60) + delay_us)
    shifts = np.array(measures.shifts_us(0, "control", "grpc", "p50"))
    assert len(shifts) == 8
    assert abs(np.median(shifts) - 400) < 100
