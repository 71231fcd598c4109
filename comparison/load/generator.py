"""The load generator as a process of its own, so that its work is charged to nobody else, and the handle to it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from crossover.comparison.design import outcomes
from crossover.comparison.load.shared import Receiver, Sender

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from crossover.comparison.design.outcomes import Record


_ENDED = "the load generator's process ended"
_TOGETHER_NS = 60_000_000
"""Generators that share a slice begin so long after it was handed out."""
_NICE, _REALTIME = -10, 1
"""The load comes from elsewhere in real life: where it is allowed, the services do not make it wait for a CPU."""


class GeneratorError(RuntimeError):
    """The load generator failed or is gone, in one sentence."""


class Runner(Protocol):
    """One load generator, or several."""

    def run(self, work: Any) -> Record:
        """Drive a slice to its end."""
        ...


def generators(driver: str, count: int) -> Generator | Generators:
    """One load generator, or several that share each slice."""
    return Generator(driver) if count == 1 else Generators(driver, count)


class Generator:
    """A fresh process that drives the slices it is given, one after the other.

    `driver` is the text `module:Class` of what drives them: an object with `run(work) -> Record`, `close()`, and `apart`,
    which says whether it is no part of what is measured.
    """

    def __init__(self, driver: str = "crossover.comparison.load.drive:Driver") -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._sender = Sender()
        self._process = spawning.Process(target=_serve, args=(theirs, driver), daemon=True, name="load generator")
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def run(self, work: Any) -> Record:
        """Drive `work` and give its record; GeneratorError when the process is gone or failed."""
        self.begin(work)
        return self.record()

    def prepare(self, work: Any) -> None:
        """Bring over the payloads of `work`, so that its beginning takes no time."""
        self._send(self._sender.messages(work)[:-1])

    def begin(self, work: Any) -> None:
        """Begin to drive `work`; `record` waits for its end."""
        self._send(self._sender.messages(work))

    def _send(self, messages: list[bytes]) -> None:
        try:
            for message in messages:
                self._pipe.send_bytes(message)
        except OSError:
            raise GeneratorError(_ENDED) from None

    def record(self) -> Record:
        """What was begun, once it has ended."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise GeneratorError(_ENDED) from None
        if isinstance(answer, str):
            raise GeneratorError(f"the load generator failed: {answer}")
        found: Record = answer
        return found

    def close(self) -> None:
        self._pipe.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Generators:
    """Several load generators, each with its share of a slice's requests and connections: more load than one CPU gives."""

    def __init__(self, driver: str, count: int) -> None:
        self._all: list[Generator] = []
        try:
            for _ in range(count):
                self._all.append(Generator(driver))
        except BaseException:
            self.close()
            raise

    def run(self, work: Any) -> Record:
        """Drive `work` as `Generator.run` does; the record names each generator's own share of a CPU."""
        count = min(len(self._all), work.concurrency, work.schedule.count)
        if count == 1:
            return self._all[0].run(work)
        used = self._all[:count]
        for one, part in zip(used, shares(work, count, 0), strict=True):
            one.prepare(part)
        for one, part in zip(used, shares(work, count, time.monotonic_ns() + _TOGETHER_NS), strict=True):
            one.begin(part)
        return joined([one.record() for one in used])

    def close(self) -> None:
        for one in self._all:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shares(work: Any, count: int, start_ns: int) -> list[Any]:
    """The slice in `count` parts: request i goes to part i modulo `count`, connections are spread evenly."""
    whole = work.schedule
    return [
        replace(
            work,
            schedule=replace(
                whole,
                offsets_ns=None if whole.offsets_ns is None else whole.offsets_ns[part::count],
                variants=whole.variants[part::count],
                start_ns=start_ns,
            ),
            concurrency=len(range(part, work.concurrency, count)),
        )
        for part in range(count)
    ]


def joined(records: list[Record]) -> Record:
    """The records of `shares` as one, its requests in the whole slice's order."""
    count = len(records)
    table = outcomes.empty(sum(len(record.requests) for record in records), records[0].requests.shape[1])
    for part, record in enumerate(records):
        table[part::count] = record.requests
    return outcomes.Record(
        table,
        sum(record.cpu_ns for record in records),
        max(record.wall_ns for record in records),
        next((record.complaint for record in records if record.complaint), ""),
        [stamps for record in records for stamps in record.stages],
        sum(record.coding_ns for record in records),
        sum(record.opened for record in records),
        [record.cpu_ns / max(1, record.wall_ns) for record in records],
    )


def _serve(pipe: Pipe, driver: str) -> None:
    """The process: Ctrl-C is the parent's to handle; the end of the pipe is the end of the work."""
    import importlib

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, name = driver.partition(":")
    worker = getattr(importlib.import_module(module), name)()
    _go_before_services(worker.apart)
    gc.collect()
    gc.freeze()  # what was imported is not walked through again before every slice
    receiver = Receiver()
    try:
        while True:
            work = receiver.read(pipe.recv_bytes())
            if work is None:
                continue
            try:
                answer: Any = worker.run(work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
                answer = f"{type(error).__name__}: {error}"
            pipe.send(answer)
    except (EOFError, OSError):
        pass
    finally:
        worker.close()


def _go_before_services(apart: bool) -> None:
    """A load that is no part of what is measured is sent on time whoever runs (SCHED_FIFO); a client is only preferred."""
    if apart:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME))
            return
    with contextlib.suppress(PermissionError):
        os.nice(_NICE)
