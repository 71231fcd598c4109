"""Which web pages may use this service: the defence against requests that other sites' pages send (CSRF), and CORS.

A browser says whose page sends a request, in ``Origin`` (RFC 6454) and ``Sec-Fetch-Site`` (W3C Fetch Metadata). A page
can neither change nor leave out these, while everything else about a request, its content type above all, it chooses.
Programs that are no browsers send neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.service.doors import hosts

if TYPE_CHECKING:
    from collections.abc import Iterable

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 9.2.1: they change nothing."""
_OWN_SITES = frozenset({"same-origin", "none"})
DEFAULT_PORTS = {"http": 80, "https": 443}
ANY = "*"
_ALLOWED_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = (
    "Location, Link, ETag, Retry-After, RateLimit, RateLimit-Policy, Server-Timing, Inference-Upstream, "
    "Inference-Header-Content-Length, Preference-Applied, WWW-Authenticate"
)
PREFLIGHT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, in one form."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port != DEFAULT_PORTS.get(self.scheme) else "")


def parse(text: str) -> Origin | None:
    """One serialized origin of http or https; None for ``null``, lists, and everything else."""
    scheme, separator, authority = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        return None
    host_port = hosts.parse(authority)
    return of(scheme, host_port) if host_port is not None else None


def of(scheme: str, host_port: hosts.HostPort) -> Origin:
    """The origin of a service that is reached by `scheme` at `host_port`."""
    return Origin(scheme, host_port.host, host_port.port if host_port.port is not None else DEFAULT_PORTS[scheme])


class Origins:
    """The origins that the setting CORS_ALLOW_ORIGINS allows."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """Origins such as ``https://app.example.org``, or ``*`` for every page; ValueError, one sentence."""
        names = [name.strip() for name in allowed if name.strip()]
        self._any = ANY in names
        self._allowed: set[Origin] = set()
        for name in names:
            if name == ANY:
                continue
            origin = parse(name)
            if origin is None:
                raise ValueError(
                    f"'{name[:80]}' is not an origin; it takes origins such as https://app.example.org, or *"
                )
            self._allowed.add(origin)
        self.enabled = bool(names)

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin were let in by the setting."""
        return self.enabled and (self._any or parse(origin) in self._allowed)

    def refusal(self, method: str, own: Origin | None, sent: str | None, site: str | None) -> str | None:
        """Why a request that changes something is refused; None when it is not.

        `own` is the origin that the request itself goes to, `sent` its ``Origin``, `site` its ``Sec-Fetch-Site``. Repeated
        fields, joined by commas, are neither ours nor anybody's.
        """
        if method in SAFE_METHODS or (sent is None and site is None):
            return None
        if sent is not None:
            if self.allows(sent):
                return None
            if own is None or parse(sent) != own:
                return (
                    f"a page of another origin ('{_shown(sent)}') may not change anything here; "
                    "CORS_ALLOW_ORIGINS lets origins in"
                )
        if site is not None and site not in _OWN_SITES:
            return (
                f"the browser says that a page of another site sends this (Sec-Fetch-Site: {_shown(site)}); "
                "CORS_ALLOW_ORIGINS lets origins in"
            )
        return None

    def fields(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        """The header fields that CORS adds to a reply; `origin` is the request's, None without one."""
        if not self.enabled:
            return []
        vary = (b"vary", b"Origin")
        if origin is None or not self.allows(origin):
            return [vary]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _EXPOSED.encode()),
            vary,
        ]

    def preflight(self, requested_headers: str | None) -> list[tuple[bytes, bytes]]:
        """The header fields that the reply to an allowed origin's preflight has beside `fields`."""
        fields = [
            (b"access-control-allow-methods", _ALLOWED_METHODS.encode()),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        ]
        if requested_headers:
            fields.append((b"access-control-allow-headers", requested_headers.encode("latin-1")))
        return fields


def _shown(value: str) -> str:
    """A caller's value for an error text: its characters that are not printable ASCII as `?`."""
    return "".join(character if " " <= character <= "~" else "?" for character in value[:80])
