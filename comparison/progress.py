"""How far a run is: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE_EVERY = 20


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def tell(self, text: str) -> None:
        self._progress.update(self._task, description=text)

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def total(self, slices: int) -> None:
        self._progress.reset(self._task, total=slices)

    def step(self, text: str) -> None:
        self._progress.update(self._task, advance=1, description=text)


class Lines:
    """Now and then a line, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = self._done = 0

    def tell(self, text: str) -> None:
        self._console.print(text, highlight=False)

    say = tell

    def total(self, slices: int) -> None:
        self._total = slices

    def step(self, text: str) -> None:
        if self._done % max(1, self._total // _LINE_EVERY) == 0:
            self._console.print(f"{self._done}/{self._total}  {text}", highlight=False)
        self._done += 1


@contextlib.contextmanager
def shown() -> Iterator[Bar | Lines]:
    """Progress on standard error, in the form that suits it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)
