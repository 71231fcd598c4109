"""A program of ours called in this process: what a child would print and its exit code, without a child's second of imports."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest.mock import patch

from crossover.protocol.wires import WIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Ended:
    """What `subprocess.run` would tell of the child."""

    returncode: int
    stdout: str
    stderr: str


def called(
    main: Callable[[list[str]], int | None], *arguments: object, environment: Mapping[str, str] | None = None
) -> Ended:
    """Call `main` with command-line arguments; a usage error ends it as it would end the process."""
    out, error = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment or {}),
        patch.dict(WIRES),  # what a program registers goes with it
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) or ended.code is None else 1
    return Ended(code or 0, out.getvalue(), error.getvalue())
