"""The fleet view: what it makes of situations, what it gives to Envoy, and a short run with real processes."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from crossover.comparison.__main__ import main
from crossover.comparison.fleet import envoy, page, shares, summary
from crossover.comparison.fleet import situation as situation_module

REPLICAS = [SimpleNamespace(grpc=f"127.0.0.1:80{n}1", rest=f"http://127.0.0.1:80{n}0") for n in range(3)]


def situation(event="steady", arm="grpc", balancer="none", **more):
    figures = {
        "block": 0, "event": event, "arm": arm, "balancer": balancer, "calls": 10, "per_second": 100.0, "shares": [1.0, 0.0],
        "largest": 1.0, "jain": 0.5, "p50_ms": 2.0, "p99_ms": 4.0, "failed": {}, "balancer_cpu_us": None,
        "client_cpu_us": 100.0, "joined_s": None,
    }  # fmt: skip
    return {**figures, **more}


@pytest.mark.parametrize(
    ("counts", "jain", "largest", "joined"),
    [([5, 5, 5], 1.0, 1 / 3, True), ([9, 0, 0], 1 / 3, 1.0, False), ([10, 10, 1], 0.73134, 10 / 21, False)],
)
def test_shares_and_jains_index(counts, jain, largest, joined):
    """1 for equal shares, 1/n when one has all; the last one has its share from four fifths of an equal one on."""
    assert shares.jain(counts) == pytest.approx(jain, abs=1e-4)
    assert max(shares.shares(counts)) == pytest.approx(largest)
    assert shares.has_its_share(counts) is joined


def test_nothing_is_no_share():
    """No calls at all are neither fair nor unfair."""
    assert shares.shares([0, 0]) == [0.0, 0.0]
    assert math.isnan(shares.jain([0, 0]))
    assert math.isnan(shares.quantile([], 0.5))
    assert [shares.quantile([3, 1, 2, 4], part) for part in (0.5, 0.99)] == [2, 4]


def test_rows_are_medians_with_their_range_and_failures_are_added():
    """In the order of the options, whatever the blocks' order was."""
    seen = [
        situation(balancer="l7", largest=0.4), situation(largest=0.9, failed={"UNAVAILABLE": 2}),
        situation(largest=1.0, failed={"UNAVAILABLE": 1, "CANCELLED": 1}), situation(largest=0.8, p50_ms=math.nan),
        situation("scale-up"), situation("scale-up", joined_s=2.5),
    ]  # fmt: skip
    rows = summary.rows(seen)
    assert [(row["event"], row["balancer"]) for row in rows] == [
        ("steady", "none"),
        ("steady", "l7"),
        ("scale-up", "none"),
    ]
    assert rows[0]["largest"] == {"median": 0.9, "least": 0.8, "most": 1.0}
    assert rows[0]["failed"] == {"UNAVAILABLE": 3, "CANCELLED": 1}
    assert page.failures(rows[0]) == "3 UNAVAILABLE, 1 CANCELLED of 30"
    assert page.joined(rows[2]) == "2.5; never in 1 of 2 blocks"


def test_the_answers_say_what_sticks_and_what_it_costs():
    """Sentences from the steady rows alone."""
    seen = [
        situation(), situation(balancer="client", largest=0.34, client_cpu_us=110.0),
        situation(arm="rest", balancer="l4", largest=0.38), situation(arm="rest", largest=1.0),
        situation(balancer="l7", largest=0.5, balancer_cpu_us=70.0, per_second=90.0), situation("slow", largest=0.2),
    ]  # fmt: skip
    found = dict(summary.answers(summary.rows(seen)))
    assert "no balancer: sticks (largest share 1.00)" in found["When does gRPC stick?"]
    assert "client-side balancing: spreads (largest share 0.34)" in found["When does gRPC stick?"]
    assert "L7: spreads unevenly (largest share 0.50)" in found["When does gRPC stick?"]
    assert "rest behind L4: spreads (largest share 0.38)" in found["Does REST stick too?"]
    assert "client-side balancing: +10 us of CPU a call in the client" in found["What does each cure cost?"]
    assert "70 us of CPU a call in the balancer, and 0.90 times" in found["What does each cure cost?"]


@pytest.mark.parametrize("layer", ["l4", "l7"])
def test_envoy_gets_a_listener_and_a_cluster_for_each_wire(tmp_path, layer):
    """gRPC upstream is HTTP/2 where Envoy looks into it; health is asked at the REST port of the same replica."""
    made = envoy.configuration(layer, {"grpc": 1, "rest": 2}, tmp_path)["static_resources"]
    filters = [each["filter_chains"][0]["filters"][0]["name"] for each in made["listeners"]]
    assert all(("tcp_proxy" if layer == "l4" else "http_connection_manager") in name for name in filters)
    assert ["typed_extension_protocol_options" in each for each in made["clusters"]] == [layer == "l7", False]
    (assignment,) = envoy.endpoints("grpc", REPLICAS)["resources"]
    found = [each["endpoint"] for each in assignment["endpoints"][0]["lb_endpoints"]]
    assert [each["address"]["socket_address"]["port_value"] for each in found] == [8001, 8011, 8021]
    assert [each["health_check_config"]["port_value"] for each in found] == [8000, 8010, 8020]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--replicas", "1"], "--replicas takes values from 2 to 16"),
        (["--arms", "inprocess"], "arm 'inprocess' does not go with --view fleet"),
        (["--arms", "rest-stock"], "arm 'rest-stock' does not go with --view fleet"),
        (["--payload", "256"], "--payload does not go with --view fleet"),
        (["--tls"], "--tls and --network do not go"),
        (["--blocks", "0"], "--blocks takes values from 1"),
        (["--concurrency", "1", "2"], "--concurrency takes one number"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(capsys, tmp_path, given, says):
    """Exit code 2, before anything starts."""
    assert main(["run", "--view", "fleet", *given, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(says)
    assert not (tmp_path / "out").exists()


def test_its_options_go_with_it_alone(capsys):
    """The other views know nothing of replicas."""
    assert main(["run", "--replicas", "3"]) == 2
    assert capsys.readouterr().err == "--replicas goes with --view fleet\n"


def test_without_envoy_its_balancers_are_skipped_with_the_reason(monkeypatch, capsys, tmp_path):
    """And a run that has nothing else is refused."""
    monkeypatch.setattr(envoy, "found", lambda: None)
    assert main(["run", "--view", "fleet", "--balancer", "l4", "l7", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("l4, l7: skipped, there is no Envoy")


def measured(out, *asked):
    """The rows of a short run over two replicas, by event, arm and balancer."""
    given = ["--replicas", "2", "--blocks", "1", "--slice", "0.5", "--concurrency", "4", "--out", str(out), *asked]
    assert main(["run", "--view", "fleet", *given]) == 0
    rows = json.loads((out / "summary.json").read_text())["rows"]
    return {(row["event"], row["arm"], row["balancer"]): row for row in rows}


@pytest.mark.slow
def test_a_run_keeps_what_it_saw_and_says_what_it_shows(capsys, tmp_path):
    """One address sticks, client-side balancing does not; with Envoy at hand L7 neither. `report` makes the same again."""
    out = tmp_path / "out"
    balancers = ["none", "client", *(["l4", "l7"] if envoy.found() else [])]
    rows = measured(out, "--event", "steady", "--arms", "grpc", "rest-binary", "--balancer", *balancers)
    assert all(row["failed"] == {} for row in rows.values())
    for (_, arm, balancer), row in rows.items():
        share = row["largest"]["median"]
        assert share == 1.0 if balancer == "none" or (arm, balancer) == ("grpc", "l4") else share <= 0.75
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    before = (out / "summary.json").read_text()
    assert main(["report", str(out)]) == 0
    assert (out / "summary.json").read_text() == before
    assert "sticks (largest share 1.00)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_sees_when_a_new_replica_has_its_share(monkeypatch, tmp_path):
    """With client-side balancing in seconds, with one address never."""
    monkeypatch.setattr(situation_module, "LONGEST_JOIN_SECONDS", 6.0)
    rows = measured(tmp_path / "out", "--event", "scale-up", "--arms", "rest-binary", "--balancer", "none", "client")
    assert rows["scale-up", "rest-binary", "none"]["never_joined"] == 1
    assert rows["scale-up", "rest-binary", "client"]["joined_s"]["median"] <= 6.5
