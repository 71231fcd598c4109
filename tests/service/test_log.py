"""What a service's log says: one line a record, whatever the values hold."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol import names
from crossover.protocol.errors import Code, InferenceError
from crossover.service import log
from crossover.service.log import JsonFormatter, TextFormatter, request_id


@pytest.fixture(scope="module")
def written():
    """What a record becomes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("crossover.test-of-lines")
    logger.propagate = False
    logger.addHandler(handler)

    def write(text, *values, **given):
        stream.seek(0)
        stream.truncate()
        logger.error(text, *values, **given)
        return stream.getvalue()

    return write


@given(st.text())
def test_a_record_is_one_line(written, value):
    """No value makes a second line, or turns what follows it round."""
    said = written("the model '%s' failed", value)
    assert said.count("\n") == 1
    assert len(said.splitlines()) == 1
    assert names.is_clean(said[:-1])


def test_a_traceback_is_indented(written):
    """An exception's text makes no line that looks like a record, and paths begin at our own folder."""
    try:
        raise RuntimeError("bad\n12:00:00 INFO    crossover: all is well\r\x1b[2J")
    except RuntimeError:
        said = written("it failed", exc_info=True)
    first, *rest = said.rstrip("\n").split("\n")
    assert first.endswith("crossover.test-of-lines: it failed")
    assert all(line.startswith("    ") and names.is_clean(line) for line in rest)
    assert str(Path(__file__).resolve().parent.parent.parent) + "/" not in said
    assert sys.base_prefix + "/" not in said


@pytest.mark.parametrize(
    "name", ["x\nINFO crossover", "a\x00", "\x7f", "\x9b31m", "a\u2028b", "\u202egnp", "\r", "\x1b[0m", "\t"]
)
def test_control_characters_are_not_names(name):
    """Such a name is INVALID_ARGUMENT, and the sentence shows it escaped."""
    with pytest.raises(InferenceError) as caught:
        names.check_model_name(name)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert names.is_clean(caught.value.message)


@pytest.mark.parametrize("name", ["digits", "숫자", "a b", "ünïcode", "a:b", "x%0a", "模型\u3000", "🙂", ""])
def test_what_is_printed_is_a_name(name):
    """Every script, blanks and punctuation are names."""
    assert names.check_model_name(name) == name


@pytest.fixture(scope="module")
def said_as_json():
    """What a record becomes in JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("crossover.test-of-objects")
    logger.propagate = False
    logger.addHandler(handler)

    def write(text, *values, **given):
        stream.seek(0)
        stream.truncate()
        logger.error(text, *values, **given)
        line = stream.getvalue()
        assert line.endswith("\n") and len(line.splitlines()) == 1 and line.isascii()
        return json.loads(line)

    return write


@given(st.text(st.characters(exclude_categories=[])))
def test_a_record_is_one_object(said_as_json, value):
    """Whatever a value holds, lone surrogates too, the line is one JSON object in ASCII that says it."""
    found = said_as_json("the model '%s' failed", value)
    assert found["message"] == f"the model '{value}' failed".encode("utf-8", "replace").decode()
    assert (found["level"], found["logger"]) == ("error", "crossover.test-of-objects")
    assert "request_id" not in found and "exception" not in found


def test_an_object_says_when_in_utc_and_why(said_as_json):
    """The time has a date and a zone, the traceback is a field, and paths begin at our own folder."""
    before = datetime.now(UTC)
    try:
        raise RuntimeError("bad\nnews")
    except RuntimeError:
        found = said_as_json("it failed", exc_info=True)
    moment = datetime.fromisoformat(found["time"])
    assert before - timedelta(seconds=1) <= moment <= datetime.now(UTC)
    assert found["time"].endswith("+00:00")
    assert found["exception"].startswith("Traceback") and "RuntimeError: bad\nnews" in found["exception"]
    assert str(Path(__file__).resolve().parent.parent.parent) + "/" not in found["exception"]


def test_a_caller_that_left_is_no_error():
    """grpcio has a traceback for each; other errors of its stay."""
    cygrpc = pytest.importorskip("grpc._cython.cygrpc")
    for error, stays in ((cygrpc.ExecuteBatchError("gone"), False), (ValueError("news"), True)):
        record = logging.LogRecord("grpc", logging.ERROR, "", 0, "failed", None, (type(error), error, None))
        assert log._is_no_caller_that_left(record) is stays


EVERYTHING = """
import logging, threading, warnings
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service import log, settings
log.set_up_log("info", "json")
logging.getLogger("uvicorn.error").warning("the library speaks")
warnings.warn("soon gone")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
try:
    settings.load(GatewaySettings, "gateway", ["--gateway-port", "x", "--log-format", "json"])
except SystemExit:
    raise RuntimeError("the end")
"""


def test_everything_that_a_program_says_is_an_object(root):
    """Libraries, warnings, errors that nobody catches in any thread, and the sentence of a program that cannot start."""
    ended = subprocess.run([sys.executable, "-c", EVERYTHING], cwd=root, capture_output=True, text=True, timeout=60)
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.stdout == ""
    assert {each["time"][-6:] for each in said} == {"+00:00"}
    for part in ("the library speaks", "soon gone", "--gateway-port is 'x'; it takes"):
        assert any(part in each["message"] for each in said), part
    errors = [each["exception"].splitlines()[-1] for each in said if "exception" in each]
    assert errors == ["ZeroDivisionError: division by zero", "RuntimeError: the end"]


def test_text_has_a_date_and_a_zone(written):
    """Logs of several hosts can be put in order."""
    before = datetime.now(UTC)
    moment = datetime.strptime(written("it failed").split(" ")[0], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert before - timedelta(seconds=1) <= moment <= datetime.now(UTC)


def test_both_forms_name_the_request(written, said_as_json):
    """From the record itself, or from the task that answers; the record goes first."""
    assert written("x", extra={"request_id": "seven"}).rstrip().endswith("x [seven]")
    token = request_id.set("eight")
    try:
        assert written("x").rstrip().endswith("x [eight]")
        assert said_as_json("x")["request_id"] == "eight"
        assert said_as_json("x", extra={"request_id": "seven"})["request_id"] == "seven"
    finally:
        request_id.reset(token)
