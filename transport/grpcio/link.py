"""A grpcio channel under watch: it asks when the connection says nothing, and knows when it may be given up.

grpcio has no way to send one PING, and its periodic ones are refused by default servers (transport/silence.py), so the
question is a call beside the others: whatever comes back, UNIMPLEMENTED too, has come over this connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from crossover.protocol import deadline
from crossover.transport.grpc.metadata import Metadata
from crossover.transport.grpc.status import CallFailedError, Status
from crossover.transport.grpcio.unary_call import GrpcioMethod
from crossover.transport.silence import GIVEN_UP_SECONDS, LONGEST_PAUSE_SECONDS, PROBE_SECONDS, SILENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_SECONDS = 0.25
_CANCELLED, _DEADLINE_EXCEEDED, _UNAVAILABLE = 1, 4, 14
_SILENT = Status(_UNAVAILABLE, "the connection is silent")
_OWN_DEADLINE = "Deadline Exceeded"


class Link:
    """One channel, the calls on it, and when it was last heard."""

    def __init__(
        self, channel: Any, silent: Callable[[Link], None], heard: Callable[[Link], None], suspects: set[Link]
    ) -> None:
        """`silent` is told when nothing has come for long, `heard` when something has, while there are `suspects`."""
        self.channel = channel
        self.retired = False
        """No new call begins here; it is closed when those under way have ended."""
        self.lost: Callable[[], None] | None = None
        """Called when it is given up; ends the streams on it."""
        self._silent = silent
        self._heard = heard
        self._suspects = suspects
        self._methods: dict[str, GrpcioMethod] = {}
        self._waiting = 0
        self._quiet_since = 0.0
        self._pause = SILENT_SECONDS
        self._is_given_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        return self._waiting > 0

    async def call(
        self, path: str, data: bytes, until: float, metadata: tuple[tuple[str, str], ...], *, trailing: bool = False
    ) -> tuple[bytes, Metadata]:
        """See `transport.grpc.status.UnaryMethod`."""
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = GrpcioMethod(self.channel, path)
        self.begin()
        try:
            reply = await method.call(data, until, metadata, trailing=trailing)
        except CallFailedError as failed:
            self._failed(failed.status)
            if self._is_given_up and failed.status.code == _CANCELLED:
                raise CallFailedError(_SILENT) from None
            raise
        except asyncio.CancelledError:
            self._ask_if_quiet()
            raise
        else:
            self.hear()
            return reply
        finally:
            self.end()

    def begin(self) -> None:
        """A call, or a request on a stream, waits for an answer; to be followed by `end`."""
        self._waiting += 1
        if self._waiting == 1:
            self._quiet_since = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def hear(self) -> None:
        """Something has come."""
        self._quiet_since = time.monotonic()
        self._pause = SILENT_SECONDS
        if self._suspects:
            self._heard(self)

    def end(self) -> None:
        self._waiting -= 1
        if self.retired:
            self._close_when_idle()

    def retire(self) -> None:
        self.retired = True
        self._close_when_idle()

    def give_up(self) -> None:
        """What waits here is UNAVAILABLE: the service answers elsewhere."""
        self._is_given_up = True
        for method in self._methods.values():
            method.close()
        if self.lost is not None:
            self.lost()

    async def asked(self) -> int:
        """gRPC's status of a call that only wants to know whether the other side answers."""
        path = "/inference.GRPCInferenceService/ServerLive"
        try:
            await self.call(path, b"", deadline.after(PROBE_SECONDS), ())
        except CallFailedError as failed:
            return failed.status.code
        return 0

    async def close(self) -> None:
        self.retired = True
        for method in self._methods.values():
            method.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.shield(self.channel.close())

    def _failed(self, status: Status) -> None:
        own = status.code == _DEADLINE_EXCEEDED and status.details == _OWN_DEADLINE
        if own:
            self._ask_if_quiet()
        elif status.code not in (_CANCELLED, _UNAVAILABLE):
            self.hear()

    def _ask_if_quiet(self) -> None:
        """A call has been given up; if it was in silence, that tells something."""
        if time.monotonic() - self._quiet_since > GIVEN_UP_SECONDS:
            self._silent(self)

    def _look(self) -> None:
        self._timer = None
        if not self._waiting or self._closing is not None:
            return
        if time.monotonic() - self._quiet_since >= self._pause:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            self._silent(self)
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _close_when_idle(self) -> None:
        if self.retired and not self._waiting and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close())
