"""Where the gRPC endpoint listens, and what it says when it can't."""

from __future__ import annotations

import asyncio
import socket

import pytest

from crossover.clients import grpc_unary
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.wires import Target
from crossover.transport.tls import Tls
from tests.fakes import RecordingInference, SlowInference
from tests.grpc_service import listener_of, listening, make_certificate, request


async def answers(address: str, **more) -> bool:
    client = grpc_unary.connect(Target(grpc=address, **more))
    try:
        return await client.server_ready(CallContext())
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("host", "reach"), [("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
async def test_addresses(host, reach):
    """IPv4, IPv6, wildcards and names can be bound and reached."""
    if ":" in host and not _has_ipv6():
        return
    listener = listener_of(RecordingInference(), host, 0)
    await listener.start()
    assert await answers(f"{reach}:{listener.port}")
    await listener.stop(0)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_unix_sockets(tmp_path):
    """`unix:PATH` is bound and reached; while somebody answers on it nobody takes its place, later somebody may."""
    host = f"unix:{tmp_path / 'socket'}"
    first, second = (listener_of(RecordingInference(), host, 0) for _ in range(2))
    await first.start()
    assert await answers(host)
    with pytest.raises(OSError, match=r"cannot listen on unix:.*in use"):
        await second.start()
    assert await answers(host)
    await first.stop(0)
    await second.start()
    assert await answers(host)
    await second.stop(0)


async def test_two_servers_never_share_a_port():
    """A port in use is refused, where the system's SO_REUSEPORT would split the traffic silently."""
    async with listening(RecordingInference()) as target:
        second = listener_of(RecordingInference(), "127.0.0.1", int(target.grpc.rpartition(":")[2]))
        with pytest.raises(OSError, match=r"cannot listen on 127.0.0.1 port \d+: Address already in use"):
            await second.start()
        await second.stop(0)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("203.0.113.7", "203.0.113.7 port 0: Cannot assign requested address"),
        ("no-such-host.invalid", "'no-such-host.invalid'"),
        ("a..b", "'a..b'"),
        ("unix:/no/such/folder/socket", "unix:/no/such/folder/socket: No such file or directory"),
    ],
)
async def test_hosts_that_are_not_here(host, says):
    """A host that can't be bound is one sentence with its reason."""
    with pytest.raises(OSError, match=says) as caught:
        await listener_of(RecordingInference(), host, 0).start()
    assert "\n" not in str(caught.value)


async def test_tls(tmp_path):
    """With a certificate only TLS is spoken; with a client CA a client must show a certificate."""
    tls = make_certificate(tmp_path)
    shown = {"tls_ca": tls.cert, "tls_cert": tls.cert, "tls_key": tls.key}
    async with listening(RecordingInference(), tls=tls) as target:
        assert await answers(target.grpc, tls_ca=tls.cert)
        assert await answers(target.grpc, **shown)
    async with listening(RecordingInference(), tls=Tls(tls.cert, tls.key, tls.cert)) as target:
        assert await answers(target.grpc, **shown)


@pytest.fixture
async def under_way():
    """A listener, its slow inference, and a call that it has begun."""
    slow = SlowInference()
    listener = listener_of(slow, "127.0.0.1", 0)
    await listener.start()
    client = grpc_unary.connect(Target(grpc=f"127.0.0.1:{listener.port}"))
    call = asyncio.create_task(client.infer(request(), CallContext()))
    await slow.started.acquire()
    yield listener, slow, call
    await client.close()


async def test_a_stop_lets_calls_finish(under_way):
    """What is under way at a stop is answered within the grace, and nobody new is let in."""
    listener, slow, call = under_way
    stopping = asyncio.create_task(listener.stop(30))
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", listener.port)
    slow.release.set()
    assert (await call).model_name == "echo"
    await stopping


async def test_a_stop_waits_no_longer_than_the_grace(under_way):
    """What is not done by then is UNAVAILABLE, and its work is cancelled."""
    listener, slow, call = under_way
    await listener.stop(0.05)
    with pytest.raises(InferenceError) as caught:
        await call
    assert caught.value.code is Code.UNAVAILABLE
    await slow.cancelled.acquire()


@pytest.mark.parametrize("swapped", [True, False])
async def test_certificates_that_cannot_be_used(tmp_path, swapped):
    """Files that are missing or do not fit are named at start."""
    tls = make_certificate(tmp_path)
    wrong = Tls(tls.key, tls.cert) if swapped else Tls(tmp_path / "none.pem", tls.key)
    with pytest.raises((OSError, ValueError), match=str(wrong.cert)):
        await listener_of(RecordingInference(), "127.0.0.1", 0, wrong).start()
