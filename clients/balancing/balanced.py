"""`Inference` over several replicas of a service, whatever the wire: each call goes to one that can take it.

A call that nobody can have looked at goes to another replica, within its deadline and the retry budget; one that a replica
may have looked at does not (transport/resending.py). What concerns the service as a whole is asked of all (`everywhere`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.clients.balancing import everywhere
from crossover.clients.balancing.lanes import Spread, laned
from crossover.clients.balancing.policies import POLICIES
from crossover.clients.balancing.replica import Replica
from crossover.clients.balancing.resolver import FILE_SECONDS, Resolver
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, invalid, unreached
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.wires import Target, wire
from crossover.protocol.wires import connect as connect_one
from crossover.transport.resending import RetryBudget
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crossover.clients.balancing.policies import Policy
    from crossover.clients.balancing.targets import Endpoint
    from crossover.protocol.messages import InferRequest, InferResponse

log = logging.getLogger("crossover.balancing")
T = TypeVar("T")

IDLE_SECONDS = 30.0
"""Without a call for so long nobody is asked for health, and no name resolved, until the next one."""


def connect(target: Target) -> Balanced:
    """A client of every replica that the target names; INVALID_ARGUMENT for one that cannot be used."""
    kind = wire(target.wire).kind
    if kind == "process":
        raise invalid(f"'{target.wire}' runs in this process and has no replicas")
    try:
        resolver = Resolver(kind, getattr(target, kind), secure=target.tls_ca is not None)
    except ValueError as error:
        raise invalid(f"the target '{getattr(target, kind)[:200]}' cannot be used: {error}") from None

    def client_of(endpoint: Endpoint) -> Inference:
        where = {kind: endpoint.address, "authority": endpoint.authority}
        return connect_one(target.wire, replace(target, workers=target.workers // lanes, **where))  # type: ignore[arg-type]

    lanes = target.workers if kind == "grpc" else 1
    return Balanced(resolver, client_of, POLICIES[target.balancing](), lanes)


class Balanced(Inference):
    """One instance belongs to one event loop."""

    def __init__(
        self, resolver: Resolver, client_of: Callable[[Endpoint], Inference], policy: Policy, lanes: int = 1
    ) -> None:
        """`lanes`: connections to each address (clients/balancing/lanes.py)."""
        self.budget = RetryBudget()
        self._lanes = lanes
        self._spread = Spread(lanes)
        self._resolver = resolver
        self._client_of = client_of
        self._policy = policy
        self._replicas: dict[Endpoint, Replica] = {}
        self._all: Sequence[Replica] = ()
        self._usable: Sequence[Replica] = ()
        self._leaving: set[Replica] = set()
        """Replicas no more, with calls under way."""
        self._calls = 0
        self._waking: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> Sequence[Replica]:
        """Those of now, in the target's order; none before the first call."""
        return self._all

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self._anywhere(lambda client: client.infer(request, context), context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        def ask(client: Inference) -> Awaitable[Any]:
            return client.control(method, request, replace(context))

        if method in everywhere.ANY:
            return await everywhere.any_of(await self._awake(context), ask, everywhere.ANY[method])
        asked = _first_lanes(await self._awake(context)) if method in everywhere.ONCE_EACH else ()
        if method in everywhere.ALL:
            what = f"{everywhere.ALL[method]} of model '{request.model_name}'"
            return await everywhere.all_of(asked, ask, what)
        if method in everywhere.MERGED:
            usable = [replica for replica in asked if replica.usable] or asked
            return await everywhere.merged(usable, ask, everywhere.MERGED[method], request)
        return await self._anywhere(ask, context, repeatable=True)

    async def close(self) -> None:
        tasks = [task for task in (self._waking, self._following) if task is not None]
        self._waking = self._following = None
        for task in tasks:
            task.cancel()
        replicas = {*self._all, *self._leaving}
        self._replicas, self._all, self._usable, self._leaving = {}, (), (), set()
        await asyncio.gather(*tasks, *(each.close() for each in replicas), return_exceptions=True)

    async def _anywhere(
        self, ask: Callable[[Inference], Awaitable[T]], context: CallContext, *, repeatable: bool = False
    ) -> T:
        """The answer of one replica. `repeatable`: asking twice changes nothing (RFC 9110 9.2.2)."""
        if self._following is None:
            await self._awake(context)
        self._calls += 1
        self.budget.earn()
        tried: list[Replica] = []
        among = self._usable or self._all
        while True:
            replica = self._policy(among)
            try:
                return await replica.call(ask)
            except InferenceError as error:
                if not (error.unprocessed or (repeatable and error.code is Code.UNAVAILABLE)):
                    raise
                tried.append(replica)
                among = [each for each in self._usable or self._all if each not in tried]
                if not among or not self.budget.spend():
                    raise

    # which replicas there are

    async def _awake(self, context: CallContext) -> Sequence[Replica]:
        """All replicas, looked after from now on; UNAVAILABLE when there are none."""
        self._calls += 1
        if self._following is None:
            if self._waking is None or self._waking.done():
                self._waking = asyncio.create_task(self._wake())
            try:
                with TimeLimit(context.deadline):
                    await asyncio.shield(self._waking)
            except TimeoutError:
                raise deadline.exceeded("while the replicas were looked up") from None
        if not self._all:
            raise unreached(self._resolver.why_none())
        return self._all

    async def _wake(self) -> None:
        await self._update()
        if self._all:
            self._following = asyncio.create_task(self._follow())
            for replica in self._all:
                replica.tend()

    async def _follow(self) -> None:
        """Look for other replicas until there have been no calls for a while."""
        calls, since = self._calls, time.monotonic()
        while time.monotonic() - since < IDLE_SECONDS:
            await asyncio.sleep(FILE_SECONDS)
            if self._calls != calls:
                calls, since = self._calls, time.monotonic()
            if self._resolver.changes:
                await self._update()
        self._following = None
        for replica in self._all:
            replica.leave_alone()

    async def _update(self) -> None:
        found = laned(await self._resolver.endpoints(), self._lanes)
        if not found or found == [*self._replicas]:
            return
        is_first = not self._replicas
        before, self._replicas = self._replicas, {}
        for endpoint in found:
            known = before.pop(endpoint) if endpoint in before else None
            self._replicas[endpoint] = known or self._made(endpoint, is_up=is_first)
        self._all = [*self._replicas.values()]
        self._changed()
        self._leaving = {each for each in self._leaving if each.in_flight} | set(before.values())
        for replica in before.values():
            replica.retire()
        log.info("replicas: %s", ", ".join(endpoint.name for endpoint in found))

    def _made(self, endpoint: Endpoint, *, is_up: bool) -> Replica:
        """One that joins others takes calls when it is known to be ready."""
        replica = Replica(
            endpoint, self._client_of(endpoint), self._changed, self._may_eject, is_up=is_up, of_several=self._lanes > 1
        )
        if not is_up:
            replica.tend()
        return replica

    def _changed(self) -> None:
        self._usable = [replica for replica in self._all if replica.usable]
        if self._lanes > 1 and self._following is not None:
            for endpoint in self._spread.surplus(self._replicas):
                self._connect_anew(endpoint)

    def _connect_anew(self, endpoint: Endpoint) -> None:
        """For a lane that came to a worker that another one has come to; calls under way on it end there."""
        before = self._replicas[endpoint]
        made = self._replicas[endpoint] = self._made(endpoint, is_up=False)
        made.calls, made.failures, made.ejections = (
            before.calls,
            before.failures,
            before.ejections,
        )  # counters never go back
        self._all = [*self._replicas.values()]
        self._usable = [replica for replica in self._all if replica.usable]
        self._leaving = {each for each in self._leaving if each.in_flight} | {before}
        before.retire()

    def _may_eject(self) -> bool:
        """What fails at more than half of the replicas is not theirs."""
        return sum(replica.is_ejected for replica in self._all) < len(self._all) // 2


def _first_lanes(replicas: Sequence[Replica]) -> list[Replica]:
    """One connection for each address, one that takes calls where there is one: what is behind it answers for all of it."""
    found: dict[str, Replica] = {}
    for replica in replicas:
        known = found.get(replica.address)
        if known is None or (replica.usable and not known.usable):
            found[replica.address] = replica
    return list(found.values())
