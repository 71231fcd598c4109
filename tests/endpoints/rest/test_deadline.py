"""Deadlines, clients that go away, and stopping."""

import asyncio
import json
import socket
import ssl
import subprocess

import pytest

from crossover.endpoints.rest import RestListener, RestOptions
from crossover.endpoints.rest.app import OipRest
from crossover.protocol import deadline
from crossover.transport.tls import Tls
from tests.endpoints.rest.service import FakeInference, served

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [({"Inference-Timeout-Ms": "40"}, {}), ({}, {"timeout": 40_000}),
     ({"Inference-Timeout-Ms": "60000"}, {"timeout": 5_000}),
     ({"Inference-Timeout-Ms": "1"}, {"timeout": 60_000_000})],
)  # fmt: skip
async def test_the_smallest_deadline_ends_a_call_that_hangs(call, headers, parameters):
    """Header in milliseconds, parameter in microseconds; 504, and the work is cancelled."""
    answer = await call.infer(X, model="hang", headers=headers, parameters=parameters)
    assert (answer.status, answer.json["code"]) == (504, "DEADLINE_EXCEEDED")
    if call.inference.started.is_set():
        await asyncio.wait_for(call.inference.cancelled.wait(), 5)


async def test_the_default_timeout_holds_without_a_header(call_with):
    """DEFAULT_TIMEOUT_MS bounds every call, also one that asks for more."""
    call = await call_with(RestOptions(default_timeout_ms=50))
    assert (await call.infer(X, model="hang")).status == 504
    assert (await call.infer(X, model="hang", headers={"Inference-Timeout-Ms": "60000"})).status == 504
    assert (await call.infer(X)).status == 200


async def test_the_deadline_travels_in_the_context(call):
    """What is left is what the next hop gets."""
    await call.infer(X, headers={"Inference-Timeout-Ms": "60000"})
    assert 50 < deadline.remaining(call.inference.contexts[0].deadline) <= 60
    await call.infer(X)
    assert call.inference.contexts[1].deadline == deadline.NEVER


async def test_a_deadline_holds_while_the_body_comes(call):
    """A body that never ends is not awaited for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", call.service.port)
    writer.write(
        b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ninference-timeout-ms: 50\r\ncontent-length: 99\r\n\r\n{"
    )
    assert b" 504 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_a_client_that_goes_away_cancels_the_work(call):
    """Closing the connection ends the call behind it; the service goes on."""
    body = json.dumps({"inputs": [X]}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", call.service.port)
    writer.write(b"POST /v2/models/hang/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await asyncio.wait_for(call.inference.started.wait(), 10)
    writer.close()
    await asyncio.wait_for(call.inference.cancelled.wait(), 10)
    assert (await call.infer(X)).status == 200
    metrics = (await call("GET", "/metrics")).body
    assert b'crossover_errors_total{code="CANCELLED"' in metrics
    assert b'crossover_requests_in_flight{wire="rest"} 0.0' in metrics


async def test_a_client_that_stays_is_answered_after_the_watch_began():
    """Watching for a disconnect does not disturb a slow answer or the next request on the connection."""
    async with served() as service:
        inner = service.inference.infer

        async def slow(request, context):
            await asyncio.sleep(0.1)
            return await inner(request, context)

        service.inference.infer = slow
        body = json.dumps({"inputs": [X]}).encode()
        request = b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request + request + request)
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 3 or not answers.endswith(b"]}]}"):
            answers += await asyncio.wait_for(reader.read(65536), 10)
        writer.close()


async def test_stopping_lets_a_request_finish_within_its_grace():
    """A request in flight is answered, its connection closed, and nothing new accepted."""
    async with served() as service:
        inner = service.inference.infer

        async def slow(request, context):
            service.inference.started.set()
            await asyncio.sleep(0.15)
            return await inner(request, context)

        service.inference.infer = slow
        body = json.dumps({"inputs": [X]}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            b"POST /v2/models/echo/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await asyncio.wait_for(service.inference.started.wait(), 10)
    assert b" 200 " in (await asyncio.wait_for(reader.read(), 10)).splitlines()[0]
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", service.port)


async def test_stopping_ends_what_hangs_with_a_503():
    """After the grace a hanging request is cancelled and told so."""
    async with served() as service:
        body = json.dumps({"inputs": [X]}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            b"POST /v2/models/hang/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        await asyncio.wait_for(service.inference.started.wait(), 10)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert b" 503 " in answer.splitlines()[0]
    assert service.inference.cancelled.is_set()


async def test_a_port_in_use_is_one_sentence(free_port):
    """A second listener on the same address fails, also on a wildcard beside loopback."""

    async def app(scope, receive, send): ...

    with socket.create_server(("127.0.0.1", free_port)):
        for host in ("127.0.0.1", "0.0.0.0", "localhost"):
            with pytest.raises(OSError, match=rf"cannot listen on {host} port {free_port}: Address already in use"):
                await RestListener(app, host, free_port).start()


async def test_a_unix_socket_is_taken_once(tmp_path):
    """`unix:PATH` is bound; while somebody answers on it nobody takes its place, what is left of a dead one is replaced."""

    async def app(scope, receive, send): ...

    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    first = RestListener(OipRest(lambda _: (None, FakeInference()), settings=RestOptions()), f"unix:{path}", 0)
    await first.start()
    with pytest.raises(OSError, match=r"cannot listen on unix:.*in use"):
        await RestListener(app, f"unix:{path}", 0).start()
    await first.stop(0)
    with pytest.raises(OSError, match="unix:/no/such/folder/socket: No such file or directory"):
        await RestListener(app, "unix:/no/such/folder/socket", 0).start()


async def test_a_host_that_does_not_exist_is_one_sentence():
    """Name resolution errors name the host."""

    async def app(scope, receive, send): ...

    with pytest.raises(OSError, match=r"cannot listen on 'no\.such\.host\.invalid'"):
        await RestListener(app, "no.such.host.invalid", 0).start()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1"])
async def test_every_form_of_host_serves(host):
    """IPv4, wildcard, name and IPv6; TCP_NODELAY is set whatever socket accepted."""
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 on this machine")
    async with served(host=host) as service:
        connect_to = "127.0.0.1" if host in ("0.0.0.0", "localhost") else host
        reader, writer = await asyncio.open_connection(connect_to, service.port)
        writer.write(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_accepted_connections_have_no_delay(monkeypatch):
    """TCP_NODELAY is on for accepted sockets: with a pre-bound socket asyncio would leave it off (+40 ms a call)."""
    from crossover.transport.http1 import server

    seen = []
    original = server.Connection.connection_made

    def spy(self, transport):
        original(self, transport)
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(server.Connection, "connection_made", spy)
    async with served() as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.close()
    assert seen
    assert all(seen)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for localhost and its key, from the openssl program."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(cert, key)


async def test_tls(certificate):
    """With a certificate the port speaks HTTPS, and nothing else."""
    context = ssl.create_default_context(cafile=certificate.cert)
    async with served(tls=certificate) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, ssl=context)
        writer.write(b"GET /v2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b" 200 " in (await asyncio.wait_for(reader.read(), 10)).splitlines()[0]
        writer.close()


def test_tls_files_that_do_not_fit_are_one_sentence(certificate, tmp_path):
    """Missing files and files that are no certificates are a ValueError that names them."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for tls in (Tls(tmp_path / "none.pem", certificate.key), Tls(broken, certificate.key),
                Tls(certificate.cert, certificate.key, tmp_path / "none.pem")):  # fmt: skip
        with pytest.raises(ValueError, match="cannot use"):
            tls.server_context()


async def test_replies_are_framed_whole_and_streams_begin_at_once():
    """Head and body of a reply with a length are sent together; the head of a stream is not held back."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [] if scope["path"] == "/stream" else [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not headers:
            await held.wait()
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"cd"})

    held = asyncio.Event()
    listener = RestListener(app, "127.0.0.1", 0)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /whole HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).count(b"content-length: 4") == 1
    assert await asyncio.wait_for(reader.readexactly(4), 10) == b"abcd"
    writer.write(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"chunked" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    held.set()
    assert await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10) == b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    writer.close()
    await listener.stop(1)
