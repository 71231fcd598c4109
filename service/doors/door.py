"""What is asked of every request before anything of it is believed: one `Door` a port.

HTTP asks for a host that is ours (421), for no page of another site behind what changes something (403), for a key with
the scope that the path needs (401, 403; RFC 6750), and for a token of its caller's rate (429), in this order. gRPC, which
no web page can speak, has a key and a rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.errors import Code, InferenceError
from crossover.service.doors import forwarded, hosts, origins, response_fields, scopes
from crossover.service.doors.scopes import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.service.doors.buckets import Taken, TokenBuckets
    from crossover.service.doors.forwarded import Forwarded
    from crossover.service.doors.hosts import AllowedHosts
    from crossover.service.doors.keys import Key, KeyRing
    from crossover.service.doors.origins import Origins

Field = tuple[bytes, bytes]
V = TypeVar("V")
REALM = 'Bearer realm="crossover"'
POLICY = b"rate"
"""The policy's name in ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head, as far as it matters here."""

    method: str
    path: bytes
    """Without its query, as it was sent."""
    fields: Sequence[Field]
    """Names in lower case."""
    peer: str = ""
    """The address of the other end; "" for a Unix socket."""
    secure: bool = False
    """Whether it came over TLS."""
    authority: str | None = None
    """That of a target in absolute form, which counts instead of ``Host`` (RFC 9112 3.2.2)."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The request may go on; `fields` belong to its reply, beside those that every reply has."""

    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is answered here: with an error, or, without one, with 204 (a CORS preflight)."""

    error: InferenceError | None
    fields: tuple[Field, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _FromWhere:
    """What follows from host and origin alone, which a client's requests repeat."""

    refusal: Refusal | None
    fields: tuple[Field, ...]


class Door:
    """The policies of one port."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        allowed_origins: Origins,
        trusted: Forwarded,
        keys: Callable[[], KeyRing] | None = None,
        buckets: TokenBuckets | None = None,
    ) -> None:
        """`keys` gives the keys that are valid now; None where callers need none."""
        self._hosts = allowed_hosts
        self._origins = allowed_origins
        self._forwarded = trusted
        self._keys = keys
        self._buckets = buckets
        self._known: BoundedCache[tuple[object, ...], _FromWhere] = BoundedCache()

    @property
    def needs_keys(self) -> bool:
        return self._keys is not None

    def check(self, head: Head) -> Pass | Refusal:
        """Whether a request may go on."""
        found = self._from_where(head)
        if found.refusal is not None:
            return found.refusal
        if self._keys is None and self._buckets is None:
            return Pass(found.fields)
        need = scopes.of_http(head.path)
        kept = found.fields
        if need is Access.HEALTH:
            return Pass(kept)
        if self._keys is not None and need is not Access.PUBLIC:
            kept = (*kept, response_fields.NO_STORE)
        key, error, challenge = self._authenticated(need, _values(head.fields, b"authorization"))
        if challenge is not None:
            kept = (*kept, (b"www-authenticate", challenge))
        limited, said = self._limited(key, head.peer, lambda: _values(head.fields, b"x-forwarded-for"))
        error = limited or error
        return Pass((*kept, *said)) if error is None else Refusal(error, (*kept, *said))

    def check_call(self, path: str, metadata: Sequence[tuple[str, str | bytes]], peer: str) -> InferenceError | None:
        """Why a gRPC call is refused; None when it may go on. `peer` is the address of the other end."""
        if self._keys is None and self._buckets is None:
            return None
        need = scopes.of_grpc(path)
        if need is Access.HEALTH:
            return None
        key, error, _ = self._authenticated(need, _texts(metadata, "authorization"))
        limited, _ = self._limited(key, peer, lambda: _texts(metadata, "x-forwarded-for"))
        return limited or error

    def _from_where(self, head: Head) -> _FromWhere:
        named, origin, sites, asked = [], [], [], []
        for name, value in head.fields:
            if name == b"host":
                named.append(value)
            elif name == b"origin":
                origin.append(value)
            elif name == b"sec-fetch-site":
                sites.append(value)
            elif name.startswith(b"access-control-request-"):
                asked.append((name, value))
        safe = head.method in origins.SAFE_METHODS
        preflight = head.method == "OPTIONS" and bool(asked)
        scheme = self._scheme(head) if origin else ""
        known = (safe, preflight, scheme, head.authority, *named, None, *origin, None, *sites, None, *asked)
        found = self._known.get(known)
        if found is None:
            found = self._judged(head, scheme, preflight, named, origin, sites, asked)
            size = sum(map(len, (*named, *origin, *sites))) + sum(len(n) + len(v) for n, v in asked)
            self._known.put(known, found, size + len(head.authority or ""))
        return found

    def _judged(
        self,
        head: Head,
        scheme: str,
        preflight: bool,
        named: list[bytes],
        origin: list[bytes],
        sites: list[bytes],
        asked: list[Field],
    ) -> _FromWhere:
        sent = [value.decode("latin-1").strip() for value in origin]
        fields = tuple(self._origins.fields(sent[0] if len(sent) == 1 else None))
        text = head.authority if head.authority is not None else ",".join(value.decode("latin-1") for value in named)
        found = hosts.parse(text.strip())
        if text.strip() and (found is None or not self._hosts.allows(found)):
            return _FromWhere(Refusal(_misdirected(text), fields), fields)
        if preflight and len(sent) == 1 and self._origins.allows(sent[0]):
            wanted = next((v.decode("latin-1") for n, v in asked if n == b"access-control-request-headers"), None)
            return _FromWhere(Refusal(None, (*fields, *self._origins.preflight(wanted))), fields)
        own = origins.of(scheme, found) if found is not None and scheme else None
        reason = self._origins.refusal(head.method, own, sent, [value.decode("latin-1").strip() for value in sites])
        refusal = Refusal(InferenceError(Code.PERMISSION_DENIED, reason), fields) if reason is not None else None
        return _FromWhere(refusal, fields)

    def _scheme(self, head: Head) -> str:
        """By which scheme the caller came, perhaps to a proxy that we trust."""
        if self._forwarded.enabled and self._forwarded.trusts(head.peer):
            said = _values(head.fields, b"x-forwarded-proto")
            if said and said[-1].lower() in origins.DEFAULT_PORTS:
                return said[-1].lower()
        return "https" if head.secure else "http"

    def _authenticated(
        self, need: scopes.Need, sent: Sequence[str]
    ) -> tuple[Key | None, InferenceError | None, bytes | None]:
        """The caller's key; why it will not do; and the challenge that says so in HTTP (RFC 6750 3)."""
        if self._keys is None or need is Access.PUBLIC:
            return None, None, None
        if len(sent) > 1:
            error = InferenceError(Code.INVALID_ARGUMENT, "there is more than one Authorization; send one")
            return None, error, _challenge("invalid_request", error.message)
        scheme, _, token = (sent[0] if sent else "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            text = "this needs an API key, sent as 'Authorization: Bearer KEY'"
            return None, InferenceError(Code.UNAUTHENTICATED, text), REALM.encode()
        key = self._keys().find(token.strip())
        if key is None:
            error = InferenceError(Code.UNAUTHENTICATED, "this API key is not valid here")
            return None, error, _challenge("invalid_token", error.message)
        if isinstance(need, Access) or need in key.scopes:
            return key, None, None
        error = InferenceError(
            Code.INSUFFICIENT_SCOPE, f"this API key does not have the scope '{need}', which this needs"
        )
        return key, error, _challenge("insufficient_scope", error.message, need)

    def _limited(
        self, key: Key | None, peer: str, forwarded_for: Callable[[], Sequence[str]]
    ) -> tuple[InferenceError | None, tuple[Field, ...]]:
        """Take a token of the key's rate, or of the address's where there is no key that is known."""
        if self._buckets is None:
            return None, ()
        if key is not None:
            caller = f"key {key.name}"
        else:
            caller = forwarded.caller_of(
                self._forwarded.client(peer, forwarded_for() if self._forwarded.enabled else ())
            )
        taken = self._buckets.take(caller)
        fields = self._rate_fields(taken)
        if taken.allowed:
            return None, fields
        wait = max(1, math.ceil(taken.retry_in))
        text = f"this caller sends more than its rate (RATE_LIMIT); the next request is taken in {wait} s"
        return InferenceError(Code.OVERLOADED, text, taken.retry_in), fields

    def _rate_fields(self, taken: Taken) -> tuple[Field, ...]:
        assert self._buckets is not None
        return (
            (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (POLICY, self._buckets.burst, self._buckets.window)),
            (b"ratelimit", b'"%b";r=%d;t=%d' % (POLICY, taken.remaining, math.ceil(taken.full_in))),
        )


def _misdirected(text: str) -> InferenceError:
    shown = "".join(character if " " <= character <= "~" else "?" for character in text[:80])
    return InferenceError(
        Code.MISDIRECTED,
        f"this service does not answer for the host '{shown}'; the setting ALLOWED_HOSTS lists names that it does",
    )


def _challenge(error: str, description: str, scope: str | None = None) -> bytes:
    """``WWW-Authenticate`` of RFC 6750 3."""
    described = description.replace('"', "'")
    scoped = f', scope="{scope}"' if scope is not None else ""
    return f'{REALM}, error="{error}", error_description="{described}"{scoped}'.encode()


def _values(fields: Sequence[Field], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for found, value in fields if found == name]


def _texts(metadata: Sequence[tuple[str, str | bytes]], name: str) -> list[str]:
    return [value if isinstance(value, str) else value.decode("latin-1") for found, value in metadata if found == name]
