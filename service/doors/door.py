"""The checks that every request passes before it is read: one `Door` a port.

HTTP: the host is one of ours (421), a request that changes something does not come from another site's page (403), its key
has the scope that the path needs (401, 403; RFC 6750), and its caller is within its rate (429), in this order. gRPC, which
no web page can speak, has the key and the rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.errors import Code, InferenceError
from crossover.service.doors import forwarded, hosts, origins, scopes
from crossover.service.doors.scopes import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.service.doors.buckets import RateDecision, TokenBuckets
    from crossover.service.doors.forwarded import Forwarded
    from crossover.service.doors.hosts import AllowedHosts
    from crossover.service.doors.keys import Key, KeyRing
    from crossover.service.doors.origins import Origins

Field = tuple[bytes, bytes]
REALM = 'Bearer realm="crossover"'
POLICY = b"rate"
"""The policy's name in ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers-11)."""


class Head(Protocol):
    """A request's head, as far as it matters here (transport.http1.messages.RequestHead)."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> bytes:
        """Without its query, as it was sent."""
        ...

    @property
    def by_name(self) -> dict[str, str]:
        """Fields by their names in lower case, repeated ones joined by commas."""
        ...

    @property
    def authority(self) -> str:
        """Host and port that it is for: those of a target in absolute form, else of ``Host``."""
        ...


@dataclass(frozen=True, slots=True)
class Pass:
    """The request may go on; `fields` belong to its reply, beside those that every reply has."""

    fields: tuple[Field, ...] = ()
    lasting: bool = False
    """Whether it follows from the head alone, and so holds for every sender and at any time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is answered here: with an error, or, without one, with 204 (a CORS preflight)."""

    error: InferenceError | None
    fields: tuple[Field, ...] = field(default=())


class Door:
    """The policies of one port."""

    def __init__(
        self,
        allowed_hosts: AllowedHosts,
        allowed_origins: Origins,
        trusted: Forwarded,
        keys: Callable[[], KeyRing] | None = None,
        buckets: TokenBuckets | None = None,
        rate_setting: str = "RATE_LIMIT",
    ) -> None:
        """`keys` gives the keys that are valid now; None where callers need none."""
        self._hosts = allowed_hosts
        self._origins = allowed_origins
        self._forwarded = trusted
        self._keys = keys
        self._buckets = buckets
        self._rate_setting = rate_setting
        self._open = keys is None and buckets is None
        self._needs: BoundedCache[bytes, scopes.Need] = BoundedCache()
        self._known: BoundedCache[tuple[object, ...], Pass | Refusal] = BoundedCache()

    @property
    def asks_callers(self) -> bool:
        """Whether a gRPC call can be refused: there are keys or rates."""
        return not self._open

    @property
    def needs_keys(self) -> bool:
        return self._keys is not None

    def check(self, head: Head, peer: str, scheme: str) -> Pass | Refusal:
        """Whether a request may go on. `peer` is the address of the other end, "" for a Unix socket; `scheme` http or https."""
        verdict = self._from_where(head, peer, scheme)
        if self._open or isinstance(verdict, Refusal):
            return verdict
        need = self._needed(head.path)
        if need is Access.HEALTH:
            return verdict
        fields = verdict.fields
        key, error, challenge = self._authenticated(need, head.by_name.get("authorization", ""))
        if challenge is not None:
            fields = (*fields, (b"www-authenticate", challenge))
        limited, rate_fields = self._limited(key, peer, head.by_name.get("x-forwarded-for", ""))
        error = limited or error
        return Pass((*fields, *rate_fields)) if error is None else Refusal(error, (*fields, *rate_fields))

    def check_call(
        self, path: str, metadata: Sequence[tuple[str, str | bytes]], peer: str, *, counted: bool = True
    ) -> InferenceError | None:
        """Why a gRPC call is refused; None when it may go on.

        `peer` is the address of the other end; a call that is not `counted` takes no token of its caller's rate.
        """
        if self._open:
            return None
        need = scopes.of_grpc(path)
        if need is Access.HEALTH:
            return None
        key, error, _ = self._authenticated(need, _joined(metadata, "authorization"))
        if not counted:
            return error
        limited, _ = self._limited(key, peer, _joined(metadata, "x-forwarded-for"))
        return limited or error

    def _needed(self, path: bytes) -> scopes.Need:
        need = self._needs.get(path)
        if need is None:
            need = scopes.of_http(path)
            self._needs.put(path, need, len(path))
        return need

    def _from_where(self, head: Head, peer: str, scheme: str) -> Pass | Refusal:
        """The verdict on host and origin alone, cached because a client's requests repeat them."""
        headers = head.by_name
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        preflight_method = headers.get("access-control-request-method") if head.method == "OPTIONS" else None
        if origin is None and site is None and preflight_method is None:
            key: tuple[object, ...] = (head.authority,)
        else:
            scheme = self._scheme(headers, peer, scheme)
            preflight_headers = headers.get("access-control-request-headers") if preflight_method is not None else None
            key = (
                head.authority,
                head.method in origins.SAFE_METHODS,
                scheme,
                origin,
                site,
                preflight_method,
                preflight_headers,
            )
        verdict = self._known.get(key)
        if verdict is None:
            verdict = self._judged(head, scheme, origin, site, preflight_method)
            self._known.put(key, verdict, sum(len(part) for part in key if isinstance(part, str)))
        return verdict

    def _judged(
        self, head: Head, scheme: str, origin: str | None, site: str | None, preflight_method: str | None
    ) -> Pass | Refusal:
        fields = tuple(self._origins.fields(origin))
        host = hosts.parse(head.authority)
        if head.authority and (host is None or not self._hosts.allows(host)):
            return Refusal(_misdirected(head.authority), fields)
        if preflight_method is not None and origin is not None and self._origins.allows(origin):
            preflight_headers = head.by_name.get("access-control-request-headers")
            return Refusal(None, (*fields, *self._origins.preflight(preflight_headers)))
        own = origins.of(scheme, host) if host is not None else None
        reason = self._origins.refusal(head.method, own, origin, site)
        lasting = self._open and origin is None and preflight_method is None and site is None
        return (
            Pass(fields, lasting) if reason is None else Refusal(InferenceError(Code.PERMISSION_DENIED, reason), fields)
        )

    def _scheme(self, headers: dict[str, str], peer: str, scheme: str) -> str:
        """The scheme that the caller used, as far as a trusted proxy names it (X-Forwarded-Proto)."""
        if self._forwarded.enabled and self._forwarded.trusts(peer):
            forwarded_scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
            if forwarded_scheme in origins.DEFAULT_PORTS:
                return forwarded_scheme
        return scheme

    def _authenticated(self, need: scopes.Need, sent: str) -> tuple[Key | None, InferenceError | None, bytes | None]:
        """The caller's key; why it will not do; and the challenge that says so in HTTP (RFC 6750 3)."""
        if self._keys is None or need is Access.PUBLIC:
            return None, None, None
        scheme, _, token = sent.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            text = "this needs an API key, sent as 'Authorization: Bearer KEY'"
            return None, InferenceError(Code.UNAUTHENTICATED, text), REALM.encode()
        if "," in token:  # repeated fields, joined; a key has no comma
            error = InferenceError(Code.INVALID_ARGUMENT, "there is more than one Authorization; send one")
            return None, error, _challenge("invalid_request", error.message)
        key = self._keys().find(token)
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
        self, key: Key | None, peer: str, forwarded_for: str
    ) -> tuple[InferenceError | None, tuple[Field, ...]]:
        """Take a token of the key's rate, or of the address's without a valid key."""
        if self._buckets is None:
            return None, ()
        decision = self._buckets.take(f"key {key.name}" if key is not None else self._address(peer, forwarded_for))
        fields = self._rate_fields(decision)
        if decision.allowed:
            return None, fields
        wait = max(1, math.ceil(decision.retry_in))
        text = f"this caller sends more than its rate ({self._rate_setting}); the next request is taken in {wait} s"
        return InferenceError(Code.OVERLOADED, text, decision.retry_in), fields

    def _address(self, peer: str, forwarded_for: str) -> str:
        return forwarded.caller_of(self._forwarded.client(peer, forwarded_for))

    def _rate_fields(self, decision: RateDecision) -> tuple[Field, ...]:
        assert self._buckets is not None
        return (
            (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (POLICY, self._buckets.burst, self._buckets.window)),
            (b"ratelimit", b'"%b";r=%d;t=%d' % (POLICY, decision.remaining, math.ceil(decision.full_in))),
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


def _joined(metadata: Sequence[tuple[str, str | bytes]], name: str) -> str:
    return ", ".join(
        value if isinstance(value, str) else value.decode("latin-1") for key, value in metadata if key == name
    )
