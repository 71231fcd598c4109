"""Which replicas there are now: names are resolved again, and files reread when they change, while somebody calls."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time

from crossover.clients.balancing import targets
from crossover.clients.balancing.targets import Endpoint, Kind, Listing, Name, Part
from crossover.transport.reread import Reread

log = logging.getLogger("crossover.balancing")

RESOLVE_SECONDS = 5.0
"""Between two looks at a name. Resolvers keep what they know for as long as its TTL says; this is how soon we hear."""
FILE_SECONDS = 1.0
"""Between two looks at a file (`transport.reread`)."""
LONGEST_RESOLVE_SECONDS = 5.0


class Resolver:
    """The endpoints behind a target, in its order."""

    def __init__(self, kind: Kind, text: str, *, secure: bool = False) -> None:
        """ValueError, one sentence, for a target that cannot be used."""
        self._kind: Kind = kind
        self._text = text
        self._parts = targets.parse(kind, text, secure=secure)
        self._files = {part: _reread(kind, part, secure) for part in self._parts if isinstance(part, Listing)}
        self._names: dict[Name, list[Endpoint]] = {}
        """What each name meant last."""
        self._failed: dict[Name, str] = {}
        self._resolved_at: dict[Name, float] = {}

    @property
    def changes(self) -> bool:
        """Whether there is anything to look at again."""
        return bool(self._files) or any(isinstance(part, Name) for part in self._parts)

    async def endpoints(self) -> list[Endpoint]:
        """What is there now; names that cannot be resolved mean what they meant before."""
        parts = self._flat()
        now = time.monotonic()
        names = [part for part in parts if isinstance(part, Name)]
        due = [
            name for name in names if now - self._resolved_at.get(name, -math.inf) >= RESOLVE_SECONDS - FILE_SECONDS / 2
        ]
        await asyncio.gather(*(self._resolve(name) for name in due))
        found: list[Endpoint] = []
        for part in parts:
            if isinstance(part, Endpoint):
                found.append(part)
            elif isinstance(part, Name):
                found += self._names.get(part, ())
        return list(dict.fromkeys(found))

    def why_none(self) -> str:
        """One sentence for a target that means no address."""
        return next(iter(self._failed.values()), f"{self._text} has no address")

    def _flat(self) -> list[Part]:
        flat: list[Part] = []
        for part in self._parts:
            flat += self._files[part].value() if isinstance(part, Listing) else [part]
        return flat

    async def _resolve(self, name: Name) -> None:
        self._resolved_at[name] = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LONGEST_RESOLVE_SECONDS):
                found = await loop.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else "there is no such host"
            text = f"'{name.host}' cannot be resolved: {why}"
            if self._failed.get(name) != text:
                log.warning("%s%s", text, "; its addresses of before stay in force" if self._names.get(name) else "")
            self._failed[name] = text
            return
        self._failed.pop(name, None)
        addresses = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
        self._names[name] = [name.endpoint(self._kind, address) for address in addresses]


def _reread(kind: Kind, listing: Listing, secure: bool) -> Reread[list[Part]]:
    return Reread(
        [listing.path], lambda: targets.read(kind, listing, secure=secure), f"addresses of {listing.path.name}"
    )
