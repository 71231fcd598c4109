"""A run whose truth is known because it was drawn: for tests of everything after the measuring."""

import numpy as np

from crossover.comparison.design import outcomes as out
from crossover.comparison.design.arms import QUICK_ARMS
from crossover.comparison.design.cells import Cell, plan
from crossover.comparison.design.samples import Experiment, SliceLine, Writer

PAYLOADS = (256, 16384, 1 << 20)
RATES = (400.0, 200.0, 20.0)
BUSY_US = (300, 300, 2000)
MILLISECONDS = {
    "rest": (1.0, 2.0, 40.0),
    "rest-binary": (0.9, 1.0, 4.0),
    "rest-protobuf": (0.92, 1.0, 4.1),
    "rest-stock": (2.6, 6.0, 60.0),
    "grpc-lean-both": (0.85, 1.0, 4.0),
    "grpc-stock": (1.2, 1.6, 9.5),
    "grpc": (1.1, 1.1, 3.0),
    "grpc-again": (1.1, 1.1, 3.0),
    "control": (1.1, 1.1, 3.0),
}


def write(folder, blocks=6, wrong=None, wrong_replies=1, late_us=0, noise=0.02, seed=1):
    """A run under `folder`; `wrong` is an arm with so many wrong answers a slice, `late_us` the generator's lateness."""
    writer = Writer(folder)
    cells = [Cell(payload, 16, rate) for payload, rate in zip(PAYLOADS, RATES, strict=True)]
    message = [{arm: size * (5 if arm == "rest" else 1) for arm in QUICK_ARMS} for size in PAYLOADS]
    writer.experiment(
        Experiment(
            "2030-01-01T00:00:00Z", "python -m comparison run", "identity", cells, list(QUICK_ARMS), {"seed": seed},
            message, [us * 1000 for us in BUSY_US], [{"rest": 1000.0}] * 3,
        )
    )  # fmt: skip
    random = np.random.default_rng(seed)
    for block in plan(blocks, cells, QUICK_ARMS, 2, 1.0, seed):
        drift = random.normal(0, 0.1)
        for item in block.slices:
            centre = MILLISECONDS[item.arm][item.cell] * np.exp(drift + random.normal(0, noise))
            busy_us = BUSY_US[item.cell] if item.arm == "control" else 0
            table = requests(random, RATES[item.cell], centre, late_us)
            table[:, out.DONE] += busy_us * 1000
            if item.arm == wrong:
                table[:wrong_replies, out.OUTCOME] = out.WRONG
            writer.add(_line(item, table, centre + busy_us / 1000, message), table)
        for line, table in _alone(random, block, drift):
            writer.add(line, table)
    return folder


def _alone(random, block, drift):
    """Calls one at a time through the reference and the control."""
    for cell, busy_us in enumerate(BUSY_US):
        for arm, delay_us in (("grpc", 0), ("control", busy_us)):
            table = requests(random, 40, MILLISECONDS[arm][cell] * np.exp(drift), 0)
            table[:, out.DONE] += delay_us * 1000
            cpu = {"model server": int((MILLISECONDS["grpc"][cell] * 0.4e6 + delay_us * 1000) * len(table))}
            yield SliceLine(block.index, cell, arm, 0, 0, cpu, 10**9, None, 0.0, 0.0, 0.0, kind="alone"), table


def requests(random, rate, milliseconds, late_us):
    count = max(10, int(rate))
    planned = np.cumsum(random.exponential(1e9 / rate, count)).astype(np.int64)
    table = np.zeros((count, 5), np.int64)
    table[:, out.PLANNED] = planned
    table[:, out.WOKEN] = table[:, out.SENT] = planned + late_us * 1000
    table[:, out.DONE] = planned + (1e6 * milliseconds * random.lognormal(0, 0.1, count)).astype(np.int64)
    return table


def _line(item, table, milliseconds, message):
    cpu = int(milliseconds * 0.4e6 * len(table))
    cpus = {"generator": 10**7, "gateway": cpu, "model server": cpu}
    wire = message[item.cell][item.arm] * len(table)
    return SliceLine(item.block, item.cell, item.arm, item.turn, item.seed, cpus, 10**9, wire, 0.0, 0.01, 0.1)
