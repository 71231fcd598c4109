"""`python -m rest_gateway keys`: make, list and take back the API keys of both services."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from crossover.service.doors import keys
from crossover.service.file_lock import held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str], program: str) -> int:
    """0, or 2 with one sentence. `program` is what was typed so far."""
    options = _parser(program).parse_args(arguments)
    try:
        if options.file is None:
            raise ValueError("name the file of keys: --file FILE, or API_KEYS_FILE in the environment")
        path = Path(options.file)
        if options.command == "add":
            _add(path, options.name, ",".join(options.scopes))
        elif options.command == "remove":
            _remove(path, options.name)
        else:
            _list(path)
    except ValueError as error:
        print(str(error), file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"{error.filename or options.file} cannot be written: {(error.strerror or 'it fails').lower()}",
            file=sys.stderr,
        )
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; --help shows how it is used", file=sys.stderr)
        sys.exit(2)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=program, description="The file keeps each key's digest, never the key.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|list|remove")
    add = commands.add_parser("add", help="make a key and print it, once", allow_abbrev=False)
    add.add_argument("name", metavar="NAME", help="who the key is for")
    add.add_argument(
        "--scopes",
        required=True,
        nargs="+",
        metavar="SCOPE",
        help=f"what it allows: {', '.join(keys.Scope)} (commas do too)",
    )
    remove = commands.add_parser("remove", help="take a key back", allow_abbrev=False)
    remove.add_argument("name", metavar="NAME")
    listing = commands.add_parser("list", help="names and scopes", allow_abbrev=False)
    for command in (add, remove, listing):
        command.add_argument(
            "--file", default=os.environ.get("API_KEYS_FILE") or None, help="the file of keys (API_KEYS_FILE)"
        )
    return parser


def _add(path: Path, name: str, scopes: str) -> None:
    token = keys.new_token()
    new_key = keys.Key(keys.check_name(name), keys.scopes_of(scopes), keys.digest_of(token))
    with _rewriting(path) as lines:
        if any(key.name == name for key in _ring(path, lines).keys):
            raise ValueError(f"there is a key called '{name}' in {path}; `keys remove {name}` takes it back")
        lines.append(keys.line_of(new_key))
    print(token)
    print("This is the only time that the key is shown; services take it within a second.", file=sys.stderr)


def _remove(path: Path, name: str) -> None:
    with _rewriting(path) as lines:
        remaining = [line for line in lines if line.lstrip().startswith("#") or line.split()[:1] != [name]]
        if len(remaining) == len(lines):
            raise ValueError(f"there is no key called '{name[:64]}' in {path}")
        lines[:] = remaining


def _list(path: Path) -> None:
    for key in keys.read(path).keys:
        print(f"{key.name}\t{','.join(sorted(key.scopes))}")


def _ring(path: Path, lines: list[str]) -> keys.KeyRing:
    return keys.parse("".join(lines).encode(), str(path))


@contextmanager
def _rewriting(path: Path) -> Iterator[list[str]]:
    """The file's lines, to be changed; they replace it as a whole, readable by its owner alone, one writer at a time."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.parent, flags=os.O_RDONLY):
        lines = _lines(path)
        _ring(path, lines)  # a file that is no keys file is not replaced
        yield lines
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not lines:
        return [keys.heading()]
    if not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return lines
