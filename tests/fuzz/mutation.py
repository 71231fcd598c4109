"""Inputs without a coverage tool: what the corpus has, changed by a seeded generator, the same each time.

atheris finds more, as it sees which lines an input reaches; this needs nothing but Python, so that the bounded slice in
`make test` runs everywhere and a finding comes again from its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

LARGEST_BYTES = 4096
"""Of an ordinary input; inputs for complexity are made of one by repeating a part of it."""
_NUMBERS = [0, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64]
_BYTES = [0, 1, 9, 10, 13, 32, 34, 44, 48, 58, 91, 92, 93, 123, 125, 127, 128, 255]


def inputs(seeds: Sequence[bytes], tokens: Sequence[bytes], seed: int = 0) -> Iterator[bytes]:
    """The seeds themselves, then changed ones without end."""
    yield from seeds
    rng = random.Random(seed)
    pool = list(seeds) or [b""]
    while True:
        data = bytearray(rng.choice(pool))
        for _ in range(1 << rng.randrange(4)):
            rng.choice(_CHANGES)(rng, data, tokens, pool)
        yield bytes(data[:LARGEST_BYTES])


def repeated(data: bytes, size: int, rng: random.Random) -> bytes:
    """`data` with a part of it repeated until it has about `size` bytes."""
    if not data:
        return bytes(size)
    start = rng.randrange(len(data))
    stop = min(len(data), start + 1 + rng.randrange(min(64, len(data) - start)))
    part = data[start:stop]
    return data[:start] + part * max(1, (size - len(data)) // len(part)) + data[stop:]


def _flip(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(_BYTES)


def _insert(rng: random.Random, data: bytearray, tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(tokens) if tokens else rng.randbytes(1 + rng.randrange(4))


def _replace(rng: random.Random, data: bytearray, tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    token = rng.choice(tokens) if tokens else rng.randbytes(1 + rng.randrange(4))
    data[at : at + rng.choice((1, len(token)))] = token


def _exchange_tokens(rng: random.Random, data: bytearray, tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    """One token of the language for another: the text stays well-formed more often than by chance."""
    present = [token for token in tokens if token in data]
    if present:
        old = rng.choice(present)
        places = data.count(old)
        at = -1
        for _ in range(1 + rng.randrange(places)):
            at = data.find(old, at + 1)
        data[max(at, 0) : max(at, 0) + len(old)] = rng.choice(tokens)


def _number(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        at = rng.choice(digits)
        data[at : at + 1] = str(rng.choice(_NUMBERS) * rng.choice((1, 1, -1))).encode()


def _length(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    """A binary number, either end first."""
    width = rng.choice((1, 2, 3, 4, 8))
    value = rng.choice(_NUMBERS) % (1 << 8 * width)
    at = rng.randrange(len(data) + 1)
    data[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _delete(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + 1 + rng.randrange(16)]


def _cut(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _double(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], _pool: Sequence[bytes]) -> None:
    if data:
        at = rng.randrange(len(data))
        part = data[at : at + 1 + rng.randrange(40)]
        data[at:at] = part * (1 + rng.randrange(4))


def _splice(rng: random.Random, data: bytearray, _tokens: Sequence[bytes], pool: Sequence[bytes]) -> None:
    other = rng.choice(pool)
    if other:
        at = rng.randrange(len(other))
        data[rng.randrange(len(data) + 1) :] = other[at:]


_CHANGES: list[Callable[[random.Random, bytearray, Sequence[bytes], Sequence[bytes]], None]] = [
    _flip, _set, _insert, _insert, _replace, _exchange_tokens, _exchange_tokens, _number, _length, _delete, _cut, _double,
    _splice,
]  # fmt: skip
