"""What a target setting may say: one address, several by commas, a name to resolve, or a file of addresses.

10.0.0.7:8001,10.0.0.8:8001     each is a replica
http://a:8000,https://b:8000    REST
dns:///models.example:8001      each address of the name is a replica
unix:/run/model.sock            a Unix socket
@replicas.txt                   one address a line; empty lines and lines that begin with # are skipped
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from crossover.protocol.wires import DNS, FILE, UNIX, unix_path

Kind = Literal["grpc", "rest"]
_HOST_PORT = re.compile(r"(?P<host>\[[^\s\[\]]+\]|[^\s:/\[\],@#?]+):(?P<port>\d{1,5})")
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_GRPC_NUMERIC = re.compile(r"ipv[46]:(?=\S)")
_TAKES = {
    "grpc": "it takes host:port, such as 10.0.0.7:8001 or [fd00::7]:8001, dns:///name:port, unix:PATH, several by commas, or @FILE",
    "rest": "it takes a URL such as http://10.0.0.7:8000, host:port, dns:///name:port, unix:PATH, several by commas, or @FILE",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica."""

    address: str
    """In the form that the wire's client takes."""
    authority: str = ""
    """The name that it is asked under, where its address is a number: TLS and virtual hosts want it."""
    lane: int = 0
    """Which of several connections to it (clients/balancing/lanes.py)."""

    @property
    def name(self) -> str:
        """The address, with the lane where that is not the first."""
        return f"{self.address}#{self.lane + 1}" if self.lane else self.address


@dataclass(frozen=True, slots=True)
class Name:
    """A name whose addresses are replicas."""

    host: str
    port: int
    secure: bool = False

    def endpoint(self, kind: Kind, address: str) -> Endpoint:
        where = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        return Endpoint(_plain(kind, where, secure=self.secure), f"{self.host}:{self.port}")


@dataclass(frozen=True, slots=True)
class Listing:
    """A file of addresses."""

    path: Path


Part = Endpoint | Name | Listing


def parse(kind: Kind, text: str, *, secure: bool = False) -> list[Part]:
    """The parts of a target; ValueError, one sentence, that says what is wrong. Files are not read.

    `secure`: addresses of REST that are no URLs are https.
    """
    parts = [_part(kind, each.strip(), text, secure) for each in text.split(",")]
    return list(dict.fromkeys(parts))


def read(kind: Kind, listing: Listing, *, secure: bool = False) -> list[Part]:
    """The parts that a file lists; ValueError, one sentence, when it cannot be used or has none."""
    try:
        lines = [line.strip() for line in listing.path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "it fails").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the file {listing.path} cannot be read: {why}") from None
    found: list[Part] = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            parts = parse(kind, line, secure=secure)
            if any(isinstance(part, Listing) for part in parts):
                raise ValueError("a file of addresses names no other file")
        except ValueError as error:
            raise ValueError(f"line {number} of {listing.path} is '{line[:80]}'; {error}") from None
        found += parts
    if not found:
        raise ValueError(f"the file {listing.path} has no address; it takes one a line")
    return list(dict.fromkeys(found))


def check(kind: Kind, text: str) -> None:
    """ValueError, one sentence, for a target that cannot be used; files are read."""
    for part in parse(kind, text):
        if isinstance(part, Listing):
            read(kind, part)


def _part(kind: Kind, text: str, whole: str, secure: bool) -> Part:
    if not text and "," in whole:
        raise ValueError("there is an empty address between its commas")
    if text.startswith(FILE):
        if not text.removeprefix(FILE):
            raise ValueError("the name of the file is missing after @")
        return Listing(Path(text.removeprefix(FILE)))
    if text.startswith(DNS):
        host, port = _host_and_port(kind, text.removeprefix(DNS).removeprefix("///"))
        return Name(host.strip("[]"), port, secure)
    if text.startswith(UNIX):
        if not unix_path(text) or " " in text:
            raise ValueError(_TAKES[kind])
        return Endpoint(text)
    if kind == "rest" and "://" in text:
        return Endpoint(_url(text))
    host, port = _host_and_port(kind, _GRPC_NUMERIC.sub("", text) if kind == "grpc" else text)
    return Endpoint(_plain(kind, f"{host}:{port}", secure=secure))


def _host_and_port(kind: Kind, text: str) -> tuple[str, int]:
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise ValueError(_TAKES[kind])
    port = int(found["port"])
    if not 0 < port < 65536:
        raise ValueError(f"port {found['port']} is not one from 1 to 65535")
    _check_host(found["host"])
    return found["host"], port


def _check_host(host: str) -> None:
    """ValueError for what neither is an IP address nor can be looked up."""
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
            return
        if host.rstrip(".").rpartition(".")[2].isdigit():  # no top-level domain is a number
            ipaddress.IPv4Address(host)
            return
        is_name = _NAME.fullmatch(host.encode("idna").decode("ascii")) is not None
    except ValueError:
        is_name = False
    if not is_name:
        raise ValueError(f"'{host[:80]}' is neither a host name nor an IP address")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or not parts.hostname or re.search(r"\s", text):
        raise ValueError(_TAKES["rest"])
    _check_host(f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname)
    if "@" in parts.netloc or parts.query or parts.fragment or not parts.path.isascii():
        raise ValueError(f"a base URL has no user, query or fragment, and its path is ASCII: {_shown(parts)}")
    return text


def _shown(parts: SplitResult) -> str:
    """What would be right; a password is not repeated."""
    netloc = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{netloc}{parts.path if parts.path.isascii() else ''}"


def _plain(kind: Kind, where: str, *, secure: bool) -> str:
    return where if kind == "grpc" else f"http{'s' if secure else ''}://{where}"
