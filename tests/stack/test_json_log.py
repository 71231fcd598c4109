"""LOG_FORMAT=json holds for what `make run` prints, too: a service's records as they are, all else as records of its own."""

from __future__ import annotations

import json

from crossover.stack.settings import StackSettings
from crossover.stack.supervisor import StackSupervisor


def test_every_line_is_an_object(capsys):
    """Also what a library writes past the log, and text that is nearly JSON."""
    lines = [b'{"message": "a record"}\n', b"E0000 a library\n", b"[" * 100_000, b"7\n", b"\xff\n"]
    StackSupervisor(StackSettings(log_format="json"))._show("gateway", lines)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[0] == {"message": "a record"}
    assert [each["message"] for each in said[1:]] == ["E0000 a library", "[" * 100_000, "7", "\ufffd"]
    assert {each["logger"] for each in said[1:]} == {"gateway"}


def test_text_names_the_service(capsys):
    """Both write to one terminal."""
    StackSupervisor(StackSettings(log_format="text"))._show("gateway", [b"ready\n"])
    assert capsys.readouterr().out == "     gateway | ready\n"
