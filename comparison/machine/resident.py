"""The memory of some processes as if nobody else were on the machine, whatever other programs share their libraries.

The proportional set size depends on who else has a library mapped just then. Here each page of a file counts once for all the
processes that are named, and each page of their own once (/proc/PID/pagemap, Documentation/admin-guide/mm/pagemap.rst).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENTRY = struct.Struct("<Q")
_PRESENT, _OF_A_FILE = 1 << 63, 1 << 61
FilePage = tuple[str, str, int]
"""Device, inode and number of a page within the file."""


def memory_bytes(pids: Iterable[int]) -> int:
    """What the processes have in memory together."""
    own, shared = 0, set[FilePage]()
    for pid in pids:
        more, files = _pages(pid)
        own += more
        shared |= files
    return (own + len(shared)) * mmap.PAGESIZE


def _pages(pid: int) -> tuple[int, set[FilePage]]:
    """How many pages are the process's own, and which ones are of files."""
    own, files = 0, set[FilePage]()
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for first, count, file, offset in _mappings(pid):
            pagemap.seek(first * _ENTRY.size)
            for index, (entry,) in enumerate(_ENTRY.iter_unpack(pagemap.read(count * _ENTRY.size))):
                if not entry & _PRESENT:
                    continue
                if entry & _OF_A_FILE:
                    files.add((*file, offset + index))
                else:
                    own += 1
    return own, files


def _mappings(pid: int) -> Iterator[tuple[int, int, tuple[str, str], int]]:
    """First page, number of pages, the file's device and inode, and where in the file; not the kernel's own pages."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, _, offset, device, inode, *name = line.split(maxsplit=5)
        if name and name[0].startswith("[v"):
            continue
        first, end = (int(address, 16) // mmap.PAGESIZE for address in addresses.split("-"))
        yield first, end - first, (device, inode), int(offset, 16) // mmap.PAGESIZE
