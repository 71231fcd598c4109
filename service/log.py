"""A service's log: one record a line, as text or as JSON, with the id of the request that it belongs to.

A record gets its request's id as `extra={"request_id": id}`, or from `request_id`, which is set in the task that answers.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.protocol.names import escaped

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger("crossover")

_FOLDERS = tuple(f"{folder}/" for folder in (Path(__file__).resolve().parent.parent, sys.prefix, sys.base_prefix))
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set once the request has a task of its own; requests answered without one pass their id to each record."""


def _request_id_of(record: logging.LogRecord) -> str:
    return str(getattr(record, "request_id", "") or request_id.get())


def _without_folders(text: str) -> str:
    """Paths as seen from our own folder."""
    for folder in _FOLDERS:
        text = text.replace(folder, "")
    return text


class TextFormatter(logging.Formatter):
    """One record, one line, whatever its values hold: a caller's text cannot forge a line (CWE-117).

    Times are local, with their offset (ISO 8601). Further lines of a record, such as a traceback, are indented.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002 - logging's
        local = time.localtime(record.created)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{int(record.msecs):03d}{time.strftime('%z', local)}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name for it
        identity = _request_id_of(record)
        line = super().formatMessage(record)
        return escaped(f"{line} [{identity}]" if identity else line)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return self._indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return self._indented(stack_info)

    def _indented(self, text: str) -> str:
        return "\n".join(f"    {escaped(line)}" for line in _without_folders(text).split("\n"))


class JsonFormatter(logging.Formatter):
    """One record, one line with one JSON object: time (RFC 3339, UTC), level, logger, message, and where there are such
    request_id, exception (the traceback) and stack.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, str] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := _request_id_of(record):
            fields["request_id"] = identity
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = _without_folders("".join(traceback.format_exception(*record.exc_info)))
        if record.stack_info:
            fields["stack"] = _without_folders(record.stack_info)
        # a lone surrogate is no text in UTF-8, but may be in a name that the system gave; ASCII has no other line ends
        return json.dumps({key: text.encode("utf-8", "replace").decode() for key, text in fields.items()})


FORMATTERS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def set_up_log(level: str, form: str = "text") -> None:
    """Log to stderr, warnings and what nobody catches too; `form` is a key of FORMATTERS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("uvicorn", "uvicorn.error", "asyncio", "grpc", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("crossover.access").setLevel(logging.INFO)  # ACCESS_LOG decides whether it has lines at all
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_caller_that_left)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda given: _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)
    sys.unraisablehook = lambda given: _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def _is_no_caller_that_left(record: logging.LogRecord) -> bool:
    """grpcio logs a reply that nobody waits for any more as an error with a traceback."""
    return record.exc_info is None or getattr(record.exc_info[0], "__name__", "") != "ExecuteBatchError"


def say(sentence: str) -> None:
    """Why a program ends, on stderr: the sentence alone, or a record where the log is JSON."""
    if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
        log.error("%s", sentence)
    else:
        print(escaped(sentence), file=sys.stderr)


def _log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), trace)
    else:
        log.critical("nobody caught an error", exc_info=(kind, error or kind(), trace))
