"""`response_cache { enable: true }` of config.pbtxt: answers are kept and given again for equal requests (Triton).

Equal means: the same loaded version, inputs (names, datatypes, shapes and bytes, in any order) and outputs in order. All models
share RESPONSE_CACHE_BYTES; what was used longest ago goes first. What a model that is reloaded or unloaded answered is
forgotten. Used on the event loop only.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from crossover.model_server.served import ServedVersion
from crossover.protocol.datatypes import Datatype
from crossover.protocol.tensors import Shape, Tensor

_ENTRY_BYTES = 1024
"""What an entry costs beside its tensors' bytes and names."""
_TENSOR_BYTES = 256
_HASHED_HERE = 256 << 10
"""Bytes of inputs that are hashed on the event loop; hashing more takes longer than a thread's start."""
_Kept: TypeAlias = tuple[str, Datatype, Shape, bytes]


@dataclass(slots=True)
class Lookup:
    """A question to the cache: its key, the answer if there is one, and the nanoseconds that it took."""

    version: ServedVersion
    key: bytes
    found: list[Tensor] | None
    ns: int


@dataclass(slots=True)
class _Entry:
    outputs: list[_Kept]
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _ENTRY_BYTES + sum(_TENSOR_BYTES + len(name) + len(raw) for name, _, _, raw in self.outputs)


class ResponseCache:
    """Answers of at most `most_bytes` altogether."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._entries: OrderedDict[tuple[ServedVersion, bytes], _Entry] = OrderedDict()
        self._serving: frozenset[ServedVersion] = frozenset()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def look_up(self, version: ServedVersion, inputs: Sequence[Tensor], outputs: Sequence[str]) -> Lookup:
        """The answer to this request, if it is here."""
        began = time.monotonic_ns()
        if sum(tensor.nbytes for tensor in inputs) <= _HASHED_HERE:
            key = key_of(inputs, outputs)
        else:
            key = await asyncio.to_thread(key_of, inputs, outputs)
        entry = self._entries.get((version, key))
        if entry is None:
            return Lookup(version, key, None, time.monotonic_ns() - began)
        self._entries.move_to_end((version, key))
        tensors = [Tensor(name, kind, shape, raw=raw) for name, kind, shape, raw in entry.outputs]
        return Lookup(version, key, tensors, time.monotonic_ns() - began)

    def put(self, lookup: Lookup, outputs: Iterable[Tensor]) -> None:
        """Keep the answer that the lookup did not find; not that of a version which was replaced meanwhile."""
        began = time.monotonic_ns()
        outputs = list(outputs)
        if lookup.version in self._serving and sum(tensor.nbytes for tensor in outputs) <= self._most_bytes:
            self._keep(
                (lookup.version, lookup.key), _Entry([(t.name, t.datatype, t.shape, bytes(t.raw)) for t in outputs])
            )
        lookup.ns += time.monotonic_ns() - began

    def _keep(self, key: tuple[ServedVersion, bytes], entry: _Entry) -> None:
        self._drop(key)
        if entry.size > self._most_bytes:
            return
        while self.bytes + entry.size > self._most_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = entry
        self.bytes += entry.size

    def retain(self, serving: Iterable[ServedVersion]) -> None:
        """The repository has changed: forget the answers of every other version."""
        self._serving = frozenset(serving)
        for key in [key for key in self._entries if key[0] not in self._serving]:
            self._drop(key)

    def _drop(self, key: tuple[ServedVersion, bytes]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size


def key_of(inputs: Sequence[Tensor], outputs: Sequence[str]) -> bytes:
    """A digest of all that decides the answer. Cryptographic, so that nobody can make two requests share one."""
    digest = hashlib.blake2b(digest_size=32)
    for tensor in sorted(inputs, key=lambda one: one.name):
        raw = tensor.raw
        digest.update(
            repr((tensor.name, tensor.datatype.name, tensor.shape, len(raw))).encode("utf-8", "surrogatepass")
        )
        digest.update(raw)
    digest.update(repr(list(outputs)).encode("utf-8", "surrogatepass"))
    return digest.digest()
