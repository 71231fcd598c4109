"""The two views of the hop: through the gateway with the same public load for every arm, or with our clients directly."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol

from crossover.comparison.design import payloads
from crossover.comparison.design.arms import CONTROL
from crossover.comparison.load import hop
from crossover.comparison.load.drive import Work
from crossover.comparison.load.http1 import request_bytes
from crossover.comparison.load.shared import Shared
from crossover.comparison.services import ask
from crossover.comparison.services.fleet import Fleet
from crossover.protocol import timeline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.wires import Target

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from crossover.comparison.design.arms import Arm
    from crossover.comparison.design.outcomes import Output, Record
    from crossover.comparison.design.schedule import Schedule
    from crossover.comparison.network.link import Counters, Link
    from crossover.protocol.messages import InferRequest

ORACLE = "rest-binary"
"""The wire that is asked for right answers where they are not known."""


class View(Protocol):
    """The services of one block as the lab sees them."""

    driver: str
    has_stages: bool
    """The services stamp the stations that a request passes when they are asked to."""
    sees_services: bool
    """The services' CPU time is known, so that what is left is that of other programs."""

    def variants(self, cell: int) -> int:
        """How many different requests the cell has."""
        ...

    def work(self, cell: int, arm: Arm, schedule: Schedule, concurrency: int, *, stages: bool = False) -> Any: ...

    def cpu_ns(self) -> dict[str, int]: ...

    def charge(self, arm: Arm, spent: dict[str, int], record: Record) -> dict[str, int]:
        """CPU by process over a slice of `arm`, from the services' difference and the generator's record."""
        ...

    def hop_bytes(self) -> dict[bytes, int] | None: ...

    def packets(self) -> Counters | None:
        """What the emulated network did so far; None where there is none."""
        ...

    def peak_memory(self) -> dict[str, int]: ...

    def cold_start_s(self) -> float | None:
        """Seconds from the start of the processes until both were ready; None for services that run already."""
        ...

    def dead(self) -> str | None:
        """What has ended by itself, with its complaint, in words; None while all live."""
        ...

    def stop(self) -> None: ...


class OipView(View, Protocol):
    """Services that speak the Open Inference Protocol."""

    target: Target

    def load(self, cell: int, requests: list[InferRequest], busy_ns: int) -> None:
        """Prepare what the cell sends and expects."""
        ...


class _Ours:
    """What both views of our own services have in common."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.target = fleet.target
        self._prepared: dict[int, _Prepared] = {}
        self._encoded: dict[tuple[int, str, bool], Shared[bytes]] = {}
        """Requests by cell, arm, and whether they ask for stages."""
        try:
            self.fleet.start()
        except BaseException:
            self.fleet.stop()
            raise

    def load(self, cell: int, requests: list[InferRequest], busy_ns: int) -> None:
        expected = ask.answers(ORACLE, self.target, requests)
        self._prepared[cell] = _Prepared(requests, expected, busy_ns)
        self._encoded = {key: found for key, found in self._encoded.items() if key[0] != cell}

    def variants(self, cell: int) -> int:
        return len(self._prepared[cell].requests)

    def encoded(self, cell: int, arm: Arm, stages: bool) -> Shared[bytes]:
        """The cell's requests as the load generator sends them."""
        key = cell, arm.name, stages
        found = self._encoded.get(key)
        if found is None:
            found = self._encoded[key] = Shared(
                self.encode(request, arm, stages) for request in self.requests(cell, arm)
            )
        return found

    def encode(self, request: InferRequest, arm: Arm, stages: bool) -> bytes:
        """One request likewise."""
        raise NotImplementedError

    def requests(self, cell: int, arm: Arm) -> list[InferRequest]:
        """The cell's requests; all arms' say how long to wait, so that they are equally long."""
        prepared = self._prepared[cell]
        busy_us = prepared.busy_ns // 1000 if arm.role == "control" else 0
        sent = [copy.copy(request) for request in prepared.requests]
        for request in sent:
            request.parameters = {**request.parameters, payloads.BUSY: busy_us}
        return sent

    def cpu_ns(self) -> dict[str, int]:
        return self.fleet.cpu_ns()

    def hop_bytes(self) -> dict[bytes, int] | None:
        return self.fleet.hop_bytes()

    def packets(self) -> Counters | None:
        return self.fleet.packets()

    def peak_memory(self) -> dict[str, int]:
        return self.fleet.peak_memory()

    def cold_start_s(self) -> float | None:
        return self.fleet.cold_start_s

    def dead(self) -> str | None:
        return self.fleet.dead()

    def stop(self) -> None:
        self.fleet.stop()


class EndToEnd(_Ours):
    """Our gateway and model server; the load is binary tensors over REST, whatever the arm."""

    driver = "crossover.comparison.load.drive:Driver"
    has_stages = True
    sees_services = True

    def work(self, cell: int, arm: Arm, schedule: Schedule, concurrency: int, *, stages: bool = False) -> Work:
        whole, expected = self.encoded(cell, arm, stages), self._prepared[cell].expected
        return Work(self.fleet.gateway_address, whole, expected, schedule, concurrency, arm.upstream, stages=stages)

    def encode(self, request: InferRequest, arm: Arm, stages: bool) -> bytes:
        encoded = binary_codec.encode_request(request)
        headers = {"inference-upstream": arm.upstream, "content-type": "application/octet-stream"}
        if encoded.header_length is not None:
            headers["inference-header-content-length"] = str(encoded.header_length)
        if stages:
            headers[timeline.HEADER] = "1"
        host, port = self.fleet.gateway_address
        path = f"/v2/models/{request.model_name}/infer"
        return request_bytes("POST", path, f"{host}:{port}", headers, b"".join(encoded.parts))

    def charge(self, arm: Arm, spent: dict[str, int], record: Record) -> dict[str, int]:
        return {**spent, "generator": record.cpu_ns}


class Hop(_Ours):
    """Our clients straight to our model server: the client is part of what is measured, and there is no gateway."""

    driver = "crossover.comparison.load.hop:Driver"
    has_stages = True
    sees_services = True

    def work(self, cell: int, arm: Arm, schedule: Schedule, concurrency: int, *, stages: bool = False) -> hop.Work:
        messages, expected = self.encoded(cell, arm, stages=False), self._prepared[cell].expected
        return hop.Work(arm.upstream, self.target, messages, expected, schedule, concurrency, stages=stages)

    def encode(self, request: InferRequest, arm: Arm, stages: bool) -> bytes:
        return protobuf_codec.encode_request(request)

    def charge(self, arm: Arm, spent: dict[str, int], record: Record) -> dict[str, int]:
        return {"client": record.cpu_ns, **spent, "generator": record.cpu_ns}


def ours(
    view: str, repository: Path, log: Path, seed: int, link: Link | None = None, *, tls: bool = False
) -> EndToEnd | Hop:
    """Our services, freshly started, in one of the two views."""
    if view == "hop":
        return Hop(Fleet(repository, log, seed, link, gateway=False, tls=tls))
    return EndToEnd(Fleet(repository, log, seed, link, tls=tls))


class _Prepared:
    __slots__ = ("busy_ns", "expected", "requests")

    def __init__(self, requests: list[InferRequest], expected: list[tuple[Output, ...]], busy_ns: int) -> None:
        self.requests, self.busy_ns = requests, busy_ns
        self.expected = Shared(expected)


class Foreign:
    """A service that somebody else runs: our clients call it directly, and its processes are not ours to look into."""

    driver = "crossover.comparison.load.hop:Driver"
    has_stages = True
    sees_services = False

    def __init__(self, target: Target, oracle: str, tolerance: float = 0.0) -> None:
        self.target = target
        self._oracle, self._tolerance = oracle, tolerance
        self._prepared: dict[int, _Prepared] = {}

    def load(self, cell: int, requests: list[InferRequest], busy_ns: int) -> None:
        self._prepared[cell] = _Prepared(requests, ask.answers(self._oracle, self.target, requests), 0)

    def variants(self, cell: int) -> int:
        return len(self._prepared[cell].requests)

    def work(self, cell: int, arm: Arm, schedule: Schedule, concurrency: int, *, stages: bool = False) -> hop.Work:
        prepared = self._prepared[cell]
        if arm.name == CONTROL:
            raise ValueError("a foreign service has no control")
        messages = [protobuf_codec.encode_request(request) for request in prepared.requests]
        return hop.Work(
            arm.upstream, self.target, messages, prepared.expected, schedule, concurrency,
            stages=stages, tolerance=self._tolerance,
        )  # fmt: skip

    def cpu_ns(self) -> dict[str, int]:
        return {}

    def charge(self, arm: Arm, spent: dict[str, int], record: Record) -> dict[str, int]:
        return {**spent, "client": record.cpu_ns, "generator": record.cpu_ns}

    def hop_bytes(self) -> dict[bytes, int] | None:
        return None

    def packets(self) -> Counters | None:
        return None

    def peak_memory(self) -> dict[str, int]:
        return {}

    def cold_start_s(self) -> float | None:
        return None

    def dead(self) -> str | None:
        return None

    def stop(self) -> None:
        pass
