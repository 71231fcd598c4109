"""What tests of settings share."""

from __future__ import annotations

import pytest

from crossover.service.settings import load


def refused(capsys, kind, *arguments):
    """The one sentence with which a program that has these settings ends."""
    with pytest.raises(SystemExit) as caught:
        load(kind, "program", list(arguments))
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said.strip()
