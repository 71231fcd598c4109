"""API keys: a file of hashed keys with names and scopes.

One key a line: ``NAME SCOPE[,SCOPE...] sha256:HEX``; empty lines and lines that begin with ``#`` are passed over.
A key is 256 random bits, so that one round of SHA-256 is enough: there is nothing to guess, and nothing to salt.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PREFIX = "xok_"
"""Begins every key, so that scanners for secrets find those that were committed or logged."""
MOST_FILE_BYTES = 1 << 20
LONGEST_TOKEN = 512
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HEADING = "# API keys: NAME SCOPES sha256:HEX; made by `python -m rest_gateway keys add NAME --scopes ...`\n"


class Scope(StrEnum):
    """What a key allows."""

    INFER = "infer"
    """Inference, and reading about models, on both wires."""
    PREDICTIONS = "predictions"
    """The gateway's resources under /api."""
    CONTROL = "control"
    """Loading and unloading models, and the server's own settings."""
    METRICS = "metrics"
    """/metrics, and the lab's reports."""


class KeysFileError(ValueError):
    """The file of keys cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored: its digest recognizes it, and does not disclose it."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes
    """SHA-256 of the key."""


class KeyRing:
    """The keys of one file."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self._shelves: dict[bytes, list[Key]] = {}
        for key in self.keys:
            self._shelves.setdefault(key.digest[:8], []).append(key)

    def find(self, token: str) -> Key | None:
        """The key that `token` is; None for an unknown one.

        Candidates are looked up by a part of the token's digest, which discloses nothing of any key; among them the
        comparison takes constant time.
        """
        if len(token) > LONGEST_TOKEN:
            return None
        digest = digest_of(token)
        match = None
        for key in self._shelves.get(digest[:8], ()):
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match


def new_token() -> str:
    """A new key, as its holder sends it."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def scopes_of(text: str) -> frozenset[Scope]:
    """Scopes separated by commas; ValueError, one sentence, when one is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(Scope):
            raise ValueError(f"'{name[:40]}' is not a scope; there are {', '.join(Scope)}")
    if not names:
        raise ValueError(f"a key needs at least one scope of {', '.join(Scope)}")
    return frozenset(map(Scope, names))


def check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name[:64]}' is not a key's name; it takes up to 64 letters, digits and . _ @ -")
    return name


def line_of(key: Key) -> str:
    """A key's line in the file."""
    return f"{key.name} {','.join(sorted(key.scopes))} sha256:{key.digest.hex()}\n"


def parse(data: bytes, name: str = "the keys file") -> KeyRing:
    """The keys in a file's content; KeysFileError says which line is wrong, and never shows what may be a key."""
    if not data:
        raise KeysFileError(f"{name} is empty; `python -m rest_gateway keys add NAME --scopes ...` adds a key to it")
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise KeysFileError(f"{name} is not UTF-8 text") from None
    keys: dict[str, Key] = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                key = _key(line)
            except ValueError as error:
                raise KeysFileError(f"line {number} of {name}: {error}") from None
            if key.name in keys:
                raise KeysFileError(f"line {number} of {name}: there is a key called '{key.name}' already")
            keys[key.name] = key
    return KeyRing(keys.values())


def _key(line: str) -> Key:
    parts = line.split()
    digest = _DIGEST.fullmatch(parts[-1])
    if len(parts) != 3 or digest is None:
        raise ValueError("it takes NAME SCOPE[,SCOPE...] sha256:HEX")
    return Key(check_name(parts[0]), scopes_of(parts[1]), bytes.fromhex(digest[1]))


def read(path: Path) -> KeyRing:
    """The keys in a file; KeysFileError when it cannot be used."""
    name = "API_KEYS_FILE"
    return parse(_content(path, name), name)


def read_own(path: Path) -> str:
    """The one key in a file that holds nothing else, for a service that calls another one; KeysFileError."""
    name = "UPSTREAM_API_KEY_FILE"
    try:
        token = _content(path, name).decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(token) > LONGEST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
        raise KeysFileError(f"{name} does not hold one key, as `python -m rest_gateway keys add` prints it")
    return token


def heading() -> str:
    """What a new file begins with."""
    return _HEADING


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise KeysFileError(f"{name} cannot be read: {(error.strerror or 'it fails').lower()}") from None
    if len(data) > MOST_FILE_BYTES:
        raise KeysFileError(f"{name} has more than {MOST_FILE_BYTES} bytes")
    return data
