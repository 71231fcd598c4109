"""Rows of data, and templates that are filled with them: `{{name}}` in a request's JSON, URL or headers.

In JSON a string is inserted escaped and without its quotes (so `"{{name}}"` is written around it), anything else as JSON.
In a URL the text is percent-encoded. `{{a.b}}` goes into objects; `{{@FILE}}` is the file's bytes as base64.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.pair import documents
from crossover.comparison.pair.errors import PairError

if TYPE_CHECKING:
    from collections.abc import Callable

Row = dict[str, Any]

MOST_ROWS = 1000
"""Rows that are used of a file; each is asked of both services before anything is measured."""
_PLACE = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def rows(path: Path) -> list[Row]:
    """The rows of a JSON-lines or CSV file, at most `MOST_ROWS` + 1; PairError names the line that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PairError(f"--data: '{path}' cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise PairError(f"--data: '{path}' is not UTF-8 text") from None
    found = _csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text, path)
    if not found:
        raise PairError(f"--data: '{path}' holds no row")
    return found


def _csv_rows(text: str, path: Path) -> list[Row]:
    found: list[Row] = []
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise PairError(f"--data: the header of '{path}' has the name '{twice}' twice")
        for row in reader:
            if None in row or None in row.values():
                raise PairError(
                    f"--data: line {reader.line_num} of '{path}' has not as many values as the header has names"
                )
            found.append(dict(row))
            if len(found) > MOST_ROWS:
                break
    except csv.Error as error:
        raise PairError(f"--data: line {reader.reader.line_num} of '{path}' is not CSV: {error}") from None
    return found


def _json_rows(text: str, path: Path) -> list[Row]:
    found: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):  # a JSON text may hold what else `splitlines` takes for an end
        if not line.strip():
            continue
        try:
            row = documents.read(line)
        except ValueError as error:
            raise PairError(f"--data: line {number} of '{path}' is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise PairError(f"--data: line {number} of '{path}' is not a JSON object")
        found.append(row)
        if len(found) > MOST_ROWS:
            break
    return found


def in_json(template: str, row: Row, where: str) -> str:
    """The template as JSON text."""
    return _filled(template, row, where, _json_text)


def in_url(template: str, row: Row, where: str) -> str:
    """The template as part of a URL."""
    return _filled(template, row, where, lambda value: urllib.parse.quote(_plain(value), safe=""))


def places(template: str) -> list[str]:
    """The names that a template asks a row for."""
    return [name for name in _PLACE.findall(template) if not name.startswith("@")]


def with_environment(text: str, where: str) -> str:
    """`${NAME}` replaced by what the environment has; PairError for a name that it has not."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if found is None:
            raise PairError(f"{where}: the environment has no variable '{match.group(1)}'")
        return found

    return _VARIABLE.sub(value, text)


def text_of(given: str, where: str) -> str:
    """What a data option means: itself, or with `@FILE` (`@-`: standard input) the file's text."""
    if not given.startswith("@"):
        return given
    try:
        return _bytes_of_file(given[1:], where).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PairError(f"{where}: the file '{given[1:]}' is not UTF-8 text") from None


def bytes_of_file(name: str, where: str) -> bytes:
    return _bytes_of_file(name, where)


def _bytes_of_file(name: str, where: str) -> bytes:
    import sys

    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise PairError(f"{where}: the file '{name}' cannot be read: {error.strerror or error}") from None


def _filled(template: str, row: Row, where: str, written: Callable[[Any], str]) -> str:
    return _PLACE.sub(lambda match: written(_value(match.group(1), row, where)), template)


def _value(name: str, row: Row, where: str) -> Any:
    if name.startswith("@"):
        return base64.b64encode(_bytes_of_file(name[1:], where)).decode()
    found: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(found, dict) or part not in found:
            has = ", ".join(f"'{key}'" for key in row) or "nothing; give --data"
            raise PairError(f"{where} asks for '{{{{{name}}}}}', which the row has not; it has {has}")
        found = found[part]
    return found


def _json_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text[1:-1] if isinstance(value, str) else text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
