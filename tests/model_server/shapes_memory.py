"""Run as a process of its own: resident memory before, during and after a hundred shapes. Arguments: arena setting, repository."""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.service import process

SHAPES = 100


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def main(arena: str, repository: Path) -> dict[str, int]:
    engine = Engine(Repository(repository, "explicit", options=RuntimeOptions(arena=arena)), Executor(2))
    await engine.repository.start()

    async def ask(rows: int) -> None:
        tensor = Tensor.from_array("x", np.ones((rows, 2), "f4"))
        await engine.infer(InferRequest("m", [tensor]), CallContext())

    await engine.repository.load("m", {})
    await ask(1)
    await engine.repository.unload("m")
    before = resident()
    await engine.repository.load("m", {})
    most = 0
    for number in range(SHAPES):
        await ask(20_000 + 7_919 * (number % SHAPES))
        most = max(most, resident())
    served = resident()
    await engine.repository.unload("m")
    await asyncio.sleep(12)  # given back after 1 s, and once more after 10 s
    after = resident()
    await engine.close()
    return {"before": before, "most": most, "served": served, "after": after}


process.keep_freed_memory()
print(json.dumps(asyncio.run(main(sys.argv[1], Path(sys.argv[2])))))
