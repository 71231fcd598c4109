"""The balancer by itself, over replicas that the tests hold in their hands."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import numpy as np
import pytest
import pytest_asyncio

from crossover.clients.balancing import balanced, replica, resolver
from crossover.clients.balancing.balanced import Balanced
from crossover.clients.balancing.policies import POLICIES
from crossover.clients.balancing.resolver import Resolver
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, lost_connection, unreached
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.transport import reread
from crossover.transport.resending import RetryBudget
from tests.fakes import RecordingInference

REQUEST = InferRequest("echo", [Tensor.from_array("x", np.ones(1, "f4"))])


class Fake(RecordingInference):
    """A replica's client: `error` is what its calls and `health` what questions for its health end with."""

    def __init__(self) -> None:
        super().__init__()
        self.error: InferenceError | None = None
        self.health: InferenceError | None = None
        self.gate: asyncio.Event | None = None
        self.questions = 0
        self.index = [("echo", "1", "READY", "")]

    async def infer(self, request, context):
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().infer(request, context)

    async def control(self, method, request, context):
        if method == "ServerReady":
            self.questions += 1
            if self.health is not None:
                raise self.health
        elif self.error is not None:
            raise self.error
        return await super().control(method, request, context)

    def _RepositoryIndex(self, request):
        line = pb.RepositoryIndexResponse.ModelIndex
        lines = [line(name=name, version=version, state=state, reason=why) for name, version, state, why in self.index]
        return pb.RepositoryIndexResponse(models=[each for each in lines if each.state == "READY" or not request.ready])


class Fleet:
    """Fakes by address, and balancers over them."""

    def __init__(self) -> None:
        self.fakes: dict[str, Fake] = {}
        self.clients: list[Balanced] = []

    def client_of(self, endpoint):
        return self.fakes.setdefault(endpoint.address, Fake())

    def __call__(self, target="a:1,b:1,c:1", policy="round_robin") -> Balanced:
        self.clients.append(Balanced(Resolver("grpc", target), self.client_of, POLICIES[policy]()))
        return self.clients[-1]

    def kill(self, address):
        """It can't be connected to any more."""
        self.fakes[address].error = self.fakes[address].health = unreached("connection refused")

    def revive(self, address):
        self.fakes[address].error = self.fakes[address].health = None

    def took(self) -> dict[str, int]:
        return {address: len(fake.requests) for address, fake in self.fakes.items() if fake.requests}


@pytest_asyncio.fixture
async def fleet(monkeypatch):
    for name in ("HEALTH_SECONDS", "FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(replica, name, 0.02)
    for module in (balanced, resolver):
        monkeypatch.setattr(module, "FILE_SECONDS", 0.02)
    monkeypatch.setattr(resolver, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(reread, "LOOK_SECONDS", 0.0)
    fleet = Fleet()
    yield fleet
    for client in fleet.clients:
        await client.close()


async def calls(client, count, seconds=5.0) -> Counter:
    """`count` calls, one after the other; how they ended."""
    ends = Counter()
    for _ in range(count):
        try:
            await client.infer(REQUEST, CallContext(deadline.after(seconds)))
            ends["ok"] += 1
        except InferenceError as error:
            ends[error.code.name] += 1
    return ends


async def until(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_round_robin_gives_each_its_turn(fleet):
    """Equal shares."""
    assert await calls(fleet(), 30) == {"ok": 30}
    assert fleet.took() == {"a:1": 10, "b:1": 10, "c:1": 10}


async def test_pick_first_takes_the_first_that_can(fleet):
    """The others are for when it cannot; it gets the calls back."""
    client = fleet(policy="pick_first")
    await calls(client, 5)
    assert fleet.took() == {"a:1": 5}
    fleet.kill("a:1")
    assert await calls(client, 5) == {"ok": 5}
    assert fleet.took() == {"a:1": 5, "b:1": 5}
    fleet.revive("a:1")
    await until(lambda: client.replicas[0].usable)
    await calls(client, 1)
    assert fleet.took()["a:1"] == 6


async def test_least_request_leaves_out_the_busy_one(fleet):
    """The one with calls under way gets no more while others have fewer."""
    client = fleet(policy="least_request")
    await calls(client, 1)
    busy = next(iter(fleet.took()))
    fleet.fakes[busy].gate = asyncio.Event()
    waiting = [asyncio.create_task(client.infer(REQUEST, CallContext())) for _ in range(3)]
    await until(lambda: sum(each.in_flight for each in client.replicas) == 1)
    await calls(client, 20)
    assert fleet.took()[busy] == 1
    assert sum(fleet.took().values()) == 23
    fleet.fakes[busy].gate.set()
    await asyncio.gather(*waiting)


async def test_what_nobody_looked_at_goes_elsewhere(fleet):
    """No caller sees a replica that cannot be connected to, and no second call goes there before it is back."""
    client = fleet()
    await calls(client, 3)
    fleet.kill("b:1")
    assert await calls(client, 30) == {"ok": 30}
    assert client.budget.spent == 1
    assert [each.usable for each in client.replicas] == [True, False, True]
    fleet.revive("b:1")
    await until(lambda: client.replicas[1].usable)
    before = fleet.took()["b:1"]
    await calls(client, 30)
    assert fleet.took()["b:1"] == before + 10


@pytest.mark.parametrize("error", [lost_connection("closed"), InferenceError(Code.UNAVAILABLE, "told"),
                                   InferenceError(Code.WORKER_LOST, "x"),
                                   InferenceError(Code.OVERLOADED, "x"), InferenceError(Code.INTERNAL, "x")])  # fmt: skip
async def test_what_may_have_been_looked_at_does_not(fleet, error):
    """It is its caller's; one that asks again gets another replica."""
    client = fleet()
    await calls(client, 3)
    fleet.fakes["a:1"].error = error
    assert await calls(client, 3) == {"ok": 2, error.code.name: 1}
    assert client.budget.spent == 0


async def test_a_lost_connection_puts_its_replica_under_suspicion(fleet):
    """No call goes there until it has answered for its health."""
    client = fleet()
    await calls(client, 3)
    fleet.fakes["a:1"].error = fleet.fakes["a:1"].health = lost_connection("closed")
    assert await calls(client, 30) == {"ok": 29, "UNAVAILABLE": 1}
    fleet.revive("a:1")
    await until(lambda: client.replicas[0].usable)


async def test_each_replica_is_tried_once(fleet):
    """When none can be reached the caller is told why, and all are tried again by the next call."""
    client = fleet()
    await calls(client, 3)
    for address in fleet.fakes:
        fleet.kill(address)
    assert await calls(client, 2) == {"UNAVAILABLE": 2}
    assert [each.calls for each in client.replicas] == [3, 3, 3]
    fleet.revive("c:1")
    assert await calls(client, 5) == {"ok": 5}


async def test_the_retry_budget_is_a_tenth_of_the_load(fleet):
    """Beyond the reserve, every tenth call may be sent again."""
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == RetryBudget.RESERVE
    for _ in range(1005):
        budget.earn()
    assert sum(budget.spend() for _ in range(1000)) == 100
    assert budget.refused == 1800
    client = fleet()
    await calls(client, 3)
    while client.budget.spend():
        pass
    fleet.kill("a:1")
    assert await calls(client, 3) == {"ok": 2, "UNAVAILABLE": 1}


async def test_one_that_leaves_is_left(fleet):
    """It answers, and says that it is not ready: it gets nothing more, and what is under way there ends well."""
    client = fleet()
    await calls(client, 3)
    fleet.fakes["b:1"].ready = False
    await until(lambda: not client.replicas[1].usable)
    before = fleet.took()["b:1"]
    assert await calls(client, 10) == {"ok": 10}
    assert fleet.took()["b:1"] == before


async def test_one_that_hangs_is_left(fleet, monkeypatch):
    """No answer to two questions in a row."""
    monkeypatch.setattr(replica, "ANSWER_SECONDS", 0.05)
    client = fleet()
    await calls(client, 3)
    fleet.fakes["b:1"].health = InferenceError(Code.DEADLINE_EXCEEDED, "silence")
    await until(lambda: not client.replicas[1].usable)


async def test_a_service_that_knows_no_health_is_healthy(fleet):
    """UNIMPLEMENTED is an answer."""
    client = fleet()
    await calls(client, 3)
    fleet.fakes["b:1"].health = InferenceError(Code.UNIMPLEMENTED, "what?")
    asked = fleet.fakes["b:1"].questions
    await until(lambda: fleet.fakes["b:1"].questions > asked + 3)
    assert client.replicas[1].usable


async def test_outliers_are_ejected_for_longer_each_time(fleet, monkeypatch):
    """Five failed calls in a row, then one; half of the replicas at most; a call that succeeds clears it."""
    monkeypatch.setattr(replica, "EJECTION_SECONDS", 0.05)
    client = fleet("a:1,b:1,c:1,d:1")
    await calls(client, 4)
    outlier = client.replicas[0]
    for address in ("a:1", "b:1", "c:1"):
        fleet.fakes[address].error = InferenceError(Code.INTERNAL, "x")
    await calls(client, 60)
    assert sum(each.is_ejected for each in client.replicas) == 2
    for address in ("b:1", "c:1"):
        fleet.revive(address)
    await until(lambda: outlier.ejections == 1 and not outlier.is_ejected)
    await until(lambda: not any(each.is_ejected for each in client.replicas))
    failures = outlier.failures
    await calls(client, 8)
    assert (outlier.ejections, outlier.failures) == (2, failures + 1)
    fleet.revive("a:1")
    await until(lambda: not outlier.is_ejected)
    assert await calls(client, 8) == {"ok": 8}


async def test_a_callers_own_faults_eject_nobody(fleet):
    """NOT_FOUND, INVALID_ARGUMENT, overload and deadlines say nothing about a replica."""
    client = fleet("a:1,b:1")
    for code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.OVERLOADED, Code.DEADLINE_EXCEEDED, Code.WORKER_LOST):
        await calls(client, 2)
        for fake in fleet.fakes.values():
            fake.error = InferenceError(code, "x")
        await calls(client, 20)
    assert [each.usable for each in client.replicas] == [True, True]


async def test_a_file_is_reread_when_it_changes(fleet, tmp_path):
    """A new replica gets its share once it is ready; one that is gone is closed when its calls have ended."""
    file = tmp_path / "replicas"
    file.write_text("a:1\nb:1\n")
    client = fleet(f"@{file}")
    await calls(client, 4)
    fleet.fakes["a:1"].gate = asyncio.Event()
    slow = asyncio.create_task(client.infer(REQUEST, CallContext()))
    await until(lambda: client.replicas[0].in_flight == 1)
    late = fleet.fakes["c:1"] = Fake()
    late.ready = False
    file.write_text("b:1\nc:1\n")
    await until(lambda: [each.endpoint.address for each in client.replicas] == ["b:1", "c:1"])
    await calls(client, 10)
    assert not late.requests
    late.ready = True
    await until(lambda: client.replicas[1].usable)
    await calls(client, 10)
    assert len(late.requests) == 5
    assert not fleet.fakes["a:1"].closed
    fleet.fakes["a:1"].gate.set()
    await slow
    await until(lambda: fleet.fakes["a:1"].closed)
    file.write_text("nonsense\n")
    await asyncio.sleep(0.1)
    assert await calls(client, 2) == {"ok": 2}


async def test_names_are_resolved_again(fleet, monkeypatch):
    """Each address is a replica; a resolver that fails leaves those of before."""
    answer = ["10.0.0.1", "10.0.0.2"]

    async def getaddrinfo(host, port, **_):
        if not answer:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    client = fleet("dns:///models:8001")
    assert await calls(client, 4) == {"ok": 4}
    assert fleet.took() == {"10.0.0.1:8001": 2, "10.0.0.2:8001": 2}
    assert {each.endpoint.authority for each in client.replicas} == {"models:8001"}
    answer[:] = ["10.0.0.2", "10.0.0.3"]
    await until(lambda: len(client.replicas) == 2 and all(each.usable for each in client.replicas[-1:])
                and client.replicas[-1].endpoint.address == "10.0.0.3:8001")  # fmt: skip
    answer.clear()
    await asyncio.sleep(0.15)
    assert await calls(client, 4) == {"ok": 4}


async def test_a_name_that_means_nothing_is_unavailable(fleet):
    """With the reason; the next call looks again."""
    client = fleet("dns:///no-such-host.invalid:8001")
    with pytest.raises(InferenceError, match=r"'no-such-host.invalid' cannot be resolved") as caught:
        await client.infer(REQUEST, CallContext(deadline.after(10)))
    assert caught.value.code is Code.UNAVAILABLE


async def test_nobody_is_asked_while_nobody_calls(fleet, monkeypatch):
    """Questions end some time after the last call, and begin again with the next."""
    monkeypatch.setattr(balanced, "IDLE_SECONDS", 0.1)
    client = fleet()
    await calls(client, 3)
    await until(lambda: client._following is None)
    await asyncio.sleep(0.05)
    asked = fleet.fakes["a:1"].questions
    await asyncio.sleep(0.1)
    assert fleet.fakes["a:1"].questions == asked
    assert await calls(client, 3) == {"ok": 3}
    await until(lambda: fleet.fakes["a:1"].questions > asked)


async def test_ready_when_one_is(fleet):
    """The service is there while one replica is; none is a no, or the reason."""
    client = fleet()
    for address in ("a:1", "b:1", "c:1"):
        assert await client.server_ready(CallContext())
        fleet.fakes[address].ready = False
    assert not await client.server_ready(CallContext())
    for address in fleet.fakes:
        fleet.kill(address)
    with pytest.raises(InferenceError):
        await client.server_ready(CallContext())


async def test_questions_go_to_another_replica(fleet):
    """Metadata may be asked twice: a lost connection is no reason to fail."""
    client = fleet()
    await calls(client, 3)
    fleet.fakes["a:1"].error = lost_connection("closed")
    assert [(await client.model_metadata("echo", "", CallContext())).name for _ in range(3)] == ["echo"] * 3


async def test_load_and_unload_hold_for_all(fleet):
    """Done when every replica did; else the sentence says which did not."""
    client = fleet()
    await client.load_model("echo", {}, CallContext())
    await client.unload_model("echo", {}, CallContext())
    assert [[each[0] for each in fake.controls] for fake in fleet.fakes.values()] == [["load", "unload"]] * 3
    fleet.fakes["b:1"].error = InferenceError(Code.INVALID_ARGUMENT, "it is broken")
    with pytest.raises(InferenceError) as caught:
        await client.load_model("echo", {}, CallContext())
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "load of model 'echo' failed at 1 of 3 replicas: b:1: it is broken"
    fleet.kill("b:1")
    with pytest.raises(InferenceError, match="b:1: connection refused"):
        await client.unload_model("echo", {}, CallContext())
    fleet.revive("b:1")
    with pytest.raises(InferenceError, match=r"^Request for unknown model: 'nope' is not found$") as caught:
        await client.load_model("nope", {}, CallContext())
    assert caught.value.code is Code.NOT_FOUND


async def test_the_index_says_where_a_model_is_not(fleet):
    """READY is what is READY everywhere."""
    client = fleet("a:1,b:1")
    await calls(client, 2)
    fleet.fakes["a:1"].index = [("x", "1", "READY", ""), ("y", "1", "READY", ""), ("z", "1", "READY", "")]
    fleet.fakes["b:1"].index = [("x", "1", "READY", ""), ("y", "1", "UNAVAILABLE", "unloaded")]
    index = await client.repository_index(False, CallContext())
    assert [(each.name, each.state, each.reason) for each in index.models] == [
        ("x", "READY", ""), ("y", "UNAVAILABLE", "b:1: unloaded"), ("z", "UNAVAILABLE", "b:1 does not have it"),
    ]  # fmt: skip
    assert [each.name for each in (await client.repository_index(True, CallContext())).models] == ["x"]


async def test_statistics_are_added_up(fleet):
    """Counters of the same model, version and batch size; the last inference is the latest."""
    client = fleet("a:1,b:1")
    await calls(client, 2)

    def statistics(last, count, batch):
        stats = pb.ModelStatistics(name="echo", version="1", last_inference=last, inference_count=count)
        stats.inference_stats.success.count = count
        stats.batch_stats.add(batch_size=batch).compute_infer.count = 1
        return pb.ModelStatisticsResponse(model_stats=[stats])

    for address, reply in (("a:1", statistics(5, 2, 1)), ("b:1", statistics(9, 3, 1))):
        fleet.fakes[address]._ModelStatistics = lambda _, reply=reply: reply
    (whole,) = (await client.model_statistics("", "", CallContext())).model_stats
    assert (whole.last_inference, whole.inference_count, whole.inference_stats.success.count) == (9, 5, 5)
    assert [(each.batch_size, each.compute_infer.count) for each in whole.batch_stats] == [(1, 2)]


async def test_a_closed_client_asks_nobody(fleet):
    """Every replica's client is closed with it."""
    client = fleet()
    await calls(client, 3)
    await client.close()
    assert all(fake.closed for fake in fleet.fakes.values())
