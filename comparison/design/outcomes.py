"""What a load generator records of each request, and whether a reply is the right one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from crossover.protocol.messages import InferResponse
    from crossover.protocol.tensors import Tensor

    Table: TypeAlias = NDArray[np.int64]

PLANNED, WOKEN, SENT, DONE, OUTCOME, FIRST, LAST, MESSAGES = range(8)
"""Columns of a slice's record, int64 [requests, 5]: times on the monotonic clock in ns, and the outcome.

Latency is done - planned, service time done - sent, lateness of the generator woken - planned. In the closed loop
planned is sent. Requests never answered have done = 0. Where replies are streams there are three more columns: when the
first and the last message had come, and how many there were; 0 in what was not answered right.
"""
OK, ERROR, WRONG, BROKEN, UNANSWERED = range(5)
OUTCOMES = ("ok", "error", "wrong answer", "connection lost", "unanswered")


@dataclass(frozen=True, slots=True)
class Output:
    """An output that a reply must hold, bit for bit."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


@dataclass(slots=True)
class Record:
    """What one slice gave."""

    requests: NDArray[np.int64]
    """[requests, 5], of streams [requests, 8]: see the columns above."""
    cpu_ns: int
    """CPU time of the generator over the slice."""
    wall_ns: int
    complaint: str = ""
    """The first thing that went wrong, in the service's words where it had any."""
    stages: list[dict[str, int]] = field(default_factory=list)
    """Stamps of the stations each request passed, for slices that ask for them."""
    coding_ns: int = 0
    """CPU time of encoding and decoding within the requests' own time, where that is part of what is measured."""
    opened: int = 0
    """Connections that were opened within the slice."""
    generators: list[float] = field(default_factory=list)
    """Where several generators shared the slice (request i was that of generator i modulo their number), what share of
    one CPU each of them used.
    """

    @property
    def busy(self) -> float:
        """Share of one CPU that the busiest generator used."""
        return max(self.generators, default=self.cpu_ns / max(1, self.wall_ns))


def empty(count: int, columns: int = FIRST) -> NDArray[np.int64]:
    """A record in which nothing has been answered yet."""
    table = np.zeros((count, columns), np.int64)
    table[:, OUTCOME] = UNANSWERED
    return table


def difference(response: InferResponse, expected: Sequence[Output], tolerance: float = 0.0) -> str:
    """How `response` differs from `expected` in names, datatypes, shapes or any bit; empty when it does not.

    With a `tolerance`, FP32 numbers may differ by that much of their size: rows computed together round differently.
    """
    found = {tensor.name: tensor for tensor in response.outputs}
    for output in expected:
        tensor = found.get(output.name)
        if tensor is None:
            return f"output '{output.name}' is missing"
        if (tensor.datatype.name, tuple(tensor.shape)) != (output.datatype, output.shape):
            return f"output '{output.name}' is {tensor.datatype.name} {list(tensor.shape)}, not as expected"
        if bytes(tensor.raw) != output.raw and not (tolerance and _is_close(tensor, output, tolerance)):
            return f"output '{output.name}' differs from the expected answer"
    return ""


def _is_close(tensor: Tensor, output: Output, tolerance: float) -> bool:
    expected = np.frombuffer(output.raw, np.float32)
    return output.datatype == "FP32" and np.allclose(tensor.array.ravel(), expected, rtol=tolerance, atol=tolerance)


def outputs_of(response: InferResponse) -> tuple[Output, ...]:
    """The outputs of a reply that is to be the measure for others."""
    return tuple(Output(t.name, t.datatype.name, tuple(t.shape), bytes(t.raw)) for t in response.outputs)
