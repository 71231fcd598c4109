"""Whatever samples a run leaves behind, they are analysed and told: nothing raises, and no number that is none is printed."""

import copy
import json
import random
import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import samples
from crossover.comparison.report import export, junit, korean, markdown, page, terminal, words

NO_NUMBER = re.compile(r"(?<![\w-])(?:nan|inf|infinity)(?![\w-])", re.IGNORECASE)
NOTHING = re.compile(r"<style>.*?</style>", re.DOTALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two blocks and a few arms, with few requests a slice: what takes time is how many pairs are judged."""
    found = samples.read(synthetic.write(tmp_path_factory.mktemp("run"), blocks=2))
    found.experiment.arms = ["rest", "rest-binary", "grpc", "grpc-again", "control"]
    slices = [(line, table[:40]) for line, table in found.slices if line.arm in found.experiment.arms]
    return replace(found, slices=slices)


def some(found, drawn):
    """The slices of an arm or two, in a cell or two."""
    arm, cell = drawn.choice(found.experiment.arms), drawn.randrange(3)
    return [
        (line, table)
        for line, table in found.slices
        if (line.arm == arm or drawn.random() < 0.2) and (line.cell == cell or drawn.random() < 0.3)
    ]


def keep(found, wanted):
    found.slices = [item for item in found.slices if wanted(item[0])]


def without_an_arm(found, drawn):
    missing = drawn.choice(found.experiment.arms)
    keep(found, lambda line: line.arm != missing)


def without_a_cell(found, drawn):
    missing = drawn.randrange(3)
    keep(found, lambda line: line.cell != missing)


def one_block(found, drawn):
    only = drawn.randrange(2)
    keep(found, lambda line: line.block == only)


def few_slices(found, drawn):
    found.slices = found.slices[: drawn.randint(0, 3)]


def few_requests(found, drawn):
    count = drawn.randint(0, 2)
    found.slices = [(line, table[:count] if drawn.random() < 0.7 else table) for line, table in found.slices]


def failures(found, drawn):
    for _, table in some(found, drawn):
        table[:, out.OUTCOME] = drawn.choice([out.ERROR, out.BROKEN, out.UNANSWERED, out.WRONG])
        table[:, out.DONE] *= drawn.randint(0, 1)


def no_bytes(found, drawn):
    for line, _ in some(found, drawn):
        line.wire_bytes = drawn.choice([0, None])


def no_cpu(found, drawn):
    for line, _ in some(found, drawn):
        line.cpu_ns = dict.fromkeys(line.cpu_ns, 0) if drawn.random() < 0.5 else {"generator": 0}
        line.calls_cpu_ns = [0] * drawn.randint(0, 40)


def no_time(found, drawn):
    for line, table in some(found, drawn):
        table[:, out.DONE] = table[:, out.SENT] = table[:, out.PLANNED]
        line.wall_ns = 0


def equal_times(found, _drawn):
    for line, table in found.slices:
        table[:, out.DONE] = table[:, out.PLANNED] + 10**6
        line.cpu_ns = dict.fromkeys(line.cpu_ns, 10**6)


def nothing_prepared(found, drawn):
    experiment = found.experiment
    experiment.message_bytes = drawn.choice([[], [{}] * 3, [{"grpc": 0, "rest": 0}] * 3])
    experiment.busy_ns = drawn.choice([[], [0] * 3, [1] * 3, [10**12] * 3])
    experiment.capacity = drawn.choice([[], [{}] * 3])


def closed_loop(found, _drawn):
    found.experiment.cells = [replace(cell, rate=None) for cell in found.experiment.cells]


def cells_alike(found, _drawn):
    found.experiment.cells = [replace(cell, payload_bytes=0) for cell in found.experiment.cells]


def searches(found, drawn):
    found.capacities = [
        {
            "block": block, "cell": 0, "arm": arm, "goal_ms": 10, "tried": [[1.0, 1.0, 2.0, 0.5]] * drawn.randint(0, 1),
            "bracket": drawn.choice([None, [1.0, 1.0], [0.0, 1.0], [1, 2]]),
        }
        for block in range(2)
        for arm in ("grpc", "rest")
    ]  # fmt: skip


def thorough(found, _drawn):
    found.experiment.options["thorough"] = True


def not_kept(found, drawn):
    for line, _ in some(found, drawn):
        line.kept = False


def empty_facts(found, drawn):
    found.starts = [{"block": 0, "network": "loopback", "cold_start_s": drawn.choice([None, 0.0]),
                     "first_ms": drawn.choice([{}, {"grpc": 0.0}]), "peak_memory_bytes": {}}]  # fmt: skip
    stamps = drawn.choice([{}, {"client.sent": 1}, {"client.sent": 5, "client.done": 5}])
    found.stages = [{"arm": "grpc", "cell": 0, "block": 0, "stamps": stamps}]


def a_pair(found, drawn):
    found.experiment.services = "pair"
    found.experiment.options.update(delay_in="client", services_seen=drawn.random() < 0.5, differences=["x"])
    found.experiment.pairs = [drawn.choice([["grpc", "rest", "q", "lead"], ["one", "other", "q", ""]])]


def streams(found, drawn):
    found.experiment.options["stream"] = True
    more = drawn.randint(0, 1)
    found.slices = [
        (line, np.hstack([table, np.full((len(table), 3), more)]))
        for line, table in found.slices
        if table.shape[1] == 5
    ]


def apparatus(found, drawn):
    for line, _ in some(found, drawn):
        line.wire_late_us, line.packets_lost = drawn.choice([[], [0.0, 0.0], None]), 3
        line.generators = drawn.choice([[], [0.5, 0.6]])


KINDS = (
    without_an_arm, without_a_cell, one_block, few_slices, few_requests, failures, no_bytes, no_cpu, no_time, equal_times,
    nothing_prepared, closed_loop, cells_alike, searches, thorough, not_kept, empty_facts, a_pair, streams, apparatus,
)  # fmt: skip


def told(found, folder, capsys):
    """Everything that is said of a run, in all its forms; a warning of numpy is a failure, since it is where nan begins."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analysis = Analysis(found)
        summary = {**analysis.summary(), "complete": True, "stopped": ""}
        summary["not_measured"] = words.not_measured(summary)
        json.dumps([summary, words.headline(summary)], allow_nan=False)
        said = [
            *words.verdict(summary),
            *words.controls(summary),
            *words.limits(summary),
            *words.expected(summary["expected"]),
        ]
        said += [text for doubt in words.doubts(summary) for text in doubt]
        export.csv_files(summary, folder)
        terminal.show(summary, folder)
        return [
            *said, *map(korean.said, said), markdown.text(summary), junit.text(summary, []), capsys.readouterr().out,
            NOTHING.sub("", page.html(summary, analysis, {})), (folder / "arms.csv").read_text(),
        ]  # fmt: skip


def check(found, folder, capsys):
    for text in told(found, folder, capsys):
        assert not (seen := NO_NUMBER.search(text)), text[max(0, seen.start() - 100) : seen.end() + 50]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_samples_of_one_degenerate_kind_are_told(kind, whole, tmp_path, capsys, without_pictures):
    """One thing is missing, zero, equal or failed."""
    found = copy.deepcopy(whole)
    kind(found, random.Random(kind.__name__))
    check(found, tmp_path, capsys)


@pytest.mark.slow  # some hundred pages with all their figures
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(40))
def test_samples_of_several_degenerate_kinds_are_told_and_drawn(seed, whole, tmp_path, capsys):
    """Several of these at once, with figures."""
    drawn = random.Random(seed)
    found = copy.deepcopy(whole)
    for kind in drawn.choices(KINDS, k=drawn.randint(1, 4)):
        kind(found, drawn)
    check(found, tmp_path, capsys)
