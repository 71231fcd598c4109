"""Triton's system shared memory extension: regions of POSIX shared memory that requests name instead of sending bytes.

A region is a part of an object in /dev/shm. It is read and written by pread and pwrite, never mapped: its owner may change it
at any time, so that a model must not run on it (kernels check an index and then use it), and may make it smaller, which would
end a process that has mapped it (SIGBUS).
"""

from __future__ import annotations

import os
import re
import stat
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crossover.protocol.codecs import shared_memory
from crossover.protocol.codecs.shared_memory import OFFSET, REGION, SIZE
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.messages import Parameters
from crossover.protocol.names import check_model_name, quoted
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb

FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is
MOST_REGIONS = 1024
_KEY = re.compile(r"/?([^/\0]{1,255})")


@dataclass(slots=True)
class Region:
    """A registered part of a shared memory object, open as long as somebody uses it."""

    name: str
    key: str
    offset: int
    size: int
    fd: int
    _closing: object = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._closing = _Descriptor(self.fd)

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self.fd, size, self.offset + offset)
        if len(data) < size:
            raise invalid(f"shared memory region {quoted(self.name)} has become smaller than it was registered with")
        return data

    def write(self, offset: int, data: memoryview) -> None:
        if os.fstat(self.fd).st_size < self.offset + offset + len(data):
            raise invalid(f"shared memory region {quoted(self.name)} has become smaller than it was registered with")
        at = self.offset + offset
        while data:
            written = os.pwrite(self.fd, data, at)
            data, at = data[written:], at + written


class _Descriptor:
    """Closes a file descriptor when nobody holds the region any more: a request may use one that is unregistered meanwhile."""

    def __init__(self, fd: int) -> None:
        weakref.finalize(self, os.close, fd)


class SharedMemory:
    """The regions of one server, used on the event loop but for `read` and `write`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        """Bytes of a request's, and of a reply's, tensors in shared memory."""
        self._regions: dict[str, Region] = {}

    def register(self, request: pb.SystemSharedMemoryRegisterRequest) -> None:
        """Open an object; INVALID_ARGUMENT where there is none like that, ALREADY_EXISTS for a name that is taken."""
        check_model_name(request.name)
        if not request.name:
            raise invalid("a shared memory region needs a name")
        if request.name in self._regions:
            raise InferenceError(Code.ALREADY_EXISTS, f"shared memory region {quoted(request.name)} already in manager")
        if len(self._regions) >= MOST_REGIONS:
            raise InferenceError(
                Code.OVERLOADED, f"{MOST_REGIONS} shared memory regions are registered; forget some first"
            )
        fd = _opened(request.key)
        region = Region(request.name, request.key, request.offset, request.byte_size, fd)
        there = os.fstat(fd).st_size
        if not request.byte_size or request.offset + request.byte_size > there:
            raise invalid(
                f"shared memory region {quoted(request.name)} takes {request.byte_size} bytes from {request.offset} on, but "
                f"{quoted(request.key)} has {there}"
            )
        self._regions[request.name] = region

    def unregister(self, name: str) -> None:
        """Forget a region, or with an empty name all; one that is not there is forgotten already."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def status(self, name: str) -> pb.SystemSharedMemoryStatusResponse:
        """One region, or all; NOT_FOUND for a name that is not registered."""
        shown = [self._region(name)] if name else list(self._regions.values())
        entry = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                region.name: entry(name=region.name, key=region.key, offset=region.offset, byte_size=region.size)
                for region in shown
            }
        )

    def _region(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise InferenceError(Code.NOT_FOUND, f"Unable to find shared memory region: {quoted(name)}")
        return region

    def places(self, tensors: Mapping[str, Parameters], what: str) -> dict[str, Place]:
        """Where these tensors lie; INVALID_ARGUMENT where that is not within its region."""
        places = {name: self._place(parameters, f"{what} {quoted(name)}") for name, parameters in tensors.items()}
        if sum(place.size for place in places.values()) > self._most_bytes and what == "input":
            raise InferenceError(
                Code.TOO_LARGE,
                f"the inputs take more than {self._most_bytes} bytes of shared memory; setting MAX_MESSAGE_BYTES raises it",
            )
        return places

    def _place(self, parameters: Parameters, where: str) -> Place:
        region = self._region(str(parameters[REGION]))
        offset, size = int(parameters[OFFSET]), int(parameters[SIZE])
        if offset + size > region.size:
            raise invalid(
                f"Invalid offset + byte size for shared memory region {quoted(region.name)}: {where} takes {size} bytes from "
                f"{offset} on, the region has {region.size}"
            )
        return Place(region, offset, size, parameters)


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a region."""

    region: Region
    offset: int
    size: int
    parameters: Parameters


def read(inputs: Sequence[Tensor], places: Mapping[str, Place]) -> list[Tensor]:
    """The inputs with the bytes of those that lie in shared memory. Blocks."""
    return [
        Tensor.from_raw(tensor.name, tensor.datatype.name, tensor.shape, place.region.read(place.offset, place.size))
        if (place := places.get(tensor.name)) is not None
        else tensor
        for tensor in inputs
    ]


def write(outputs: Sequence[Tensor], places: Mapping[str, Place]) -> tuple[list[Tensor], dict[str, Parameters]]:
    """The outputs without the bytes of those that were written to shared memory, and what is told of these. Blocks."""
    for tensor in outputs:
        place = places.get(tensor.name)
        if place is not None and (size := len(memoryview(tensor.raw).cast("B"))) > place.size:
            raise invalid(
                f"output {quoted(tensor.name)} has {size} bytes, but its place in shared memory region "
                f"{quoted(place.region.name)} has {place.size}"
            )
    return list(_written(outputs, places)), {
        tensor.name: shared_memory.reply_parameters(places[tensor.name].parameters, tensor.nbytes)
        for tensor in outputs
        if tensor.name in places
    }


def _written(outputs: Sequence[Tensor], places: Mapping[str, Place]) -> Iterator[Tensor]:
    for tensor in outputs:
        place = places.get(tensor.name)
        if place is None:
            yield tensor
            continue
        place.region.write(place.offset, memoryview(tensor.raw).cast("B") if tensor.nbytes else memoryview(b""))
        yield Tensor(tensor.name, tensor.datatype, tensor.shape, raw=b"")


def _opened(key: str) -> int:
    """A descriptor of the object that shm_open would open; INVALID_ARGUMENT when it is none."""
    match = _KEY.fullmatch(key)
    if match is None or match[1] in {".", ".."}:
        raise invalid(f"the key {quoted(key)} is not the name of a shared memory object")
    try:
        fd = os.open(FOLDER / match[1], os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise invalid(f"unable to open shared memory object {quoted(key)}: {error.strerror}") from None
    except ValueError:
        raise invalid(f"the key {quoted(key)} is not the name of a shared memory object") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise invalid(f"{quoted(key)} is not a shared memory object")
    return fd
