"""Several workers' metrics as one text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from crossover.protocol.errors import Code
from crossover.service.metrics import Observer
from crossover.service.workers.summing import summed

CALLS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["a", 'b "quoted" \\ and spaced']), st.none(), st.floats(0, 20)),
        st.tuples(st.just(""), st.sampled_from([None, *list(Code)[:3]]), st.floats(0, 20)),
    )
)
"""A model becomes a label with its first success at a worker, so that errors before it are counted without; here all are."""


def observed(calls) -> Observer:
    observer = Observer()
    for model, code, seconds in calls:
        observer.started("rest")
        observer.finished("rest", "infer", model, code, seconds)
    return observer


def samples(text: bytes) -> dict:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if family.type in ("counter", "histogram") and not sample.name.startswith("process_")
    }


@settings(max_examples=20)
@given(CALLS, CALLS)
def test_what_is_counted_adds_up(first, second):
    """Counters and histograms of two workers are those of one that had all calls, in a text that Prometheus reads."""
    both = samples(summed([observed(first).render(), observed(second).render()]))
    together = samples(observed([*first, *second]).render())
    assert both.keys() == together.keys()
    for key, value in together.items():
        assert both[key] == pytest.approx(value), key


def test_one_text_is_itself():
    """With one worker the sum is its text, but for how a number is written."""
    text = observed([("a", None, 0.1), ("a", Code.NOT_FOUND, 2.0)]).render()
    assert re.sub(rb" [^ ]+\n", b"\n", summed([text])) == re.sub(rb" [^ ]+\n", b"\n", text)
    assert samples(summed([text])) == samples(text)


TABLE = [
    ("crossover_build_info", [1, 1], 1),
    ("crossover_event_loop_lag_seconds", [0.25, 0.5], 0.5),
    ("crossover_fast_path", [1, 0], 0),
    ("crossover_in_flight_bytes", [100, 28], 128),
    ("process_resident_memory_bytes", [1e8, 2e8], 3e8),
    ("process_start_time_seconds", [2e9, 1e9], 1e9),
]


def test_gauges_are_joined_by_what_they_mean():
    """Amounts add up; a version stays one, the worst delay is the service's, and a path is on where all have it."""
    for name, values, expected in TABLE:
        texts = [f"# HELP {name} Text.\n# TYPE {name} gauge\n{name} {value}\n".encode() for value in values]
        (family,) = text_string_to_metric_families(summed(texts).decode())
        assert [sample.value for sample in family.samples] == [expected], name


def test_counts_go_on_when_their_worker_has_ended():
    """Of a worker that is no more its counters count, its gauges do not: no counter goes back, and no connection stays open."""
    ended = b"# TYPE a_total counter\na_total 5\n# TYPE b gauge\nb 7\n# TYPE nv_inference_count counter\nnv_inference_count 2\n"
    lives = b"# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb 2\n"
    assert summed([lives], [ended]).split() == (
        b"# TYPE a_total counter a_total 6.0 # TYPE b gauge b 2.0 # TYPE nv_inference_count counter nv_inference_count 2.0".split()
    )
