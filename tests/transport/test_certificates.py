"""Certificates are exchanged under live ports: new connections get the new ones, and old ones are let be."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess

import pytest

from crossover.endpoints.grpc.lean import LeanListener
from crossover.endpoints.grpc.serve import GrpcListener
from crossover.endpoints.rest import OipRest, RestListener, RestOptions
from crossover.transport import reread
from crossover.transport.tls import Tls
from tests.fakes import RecordingInference


def make(folder, name):
    """A certificate for loopback that is its own authority."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
         "-out", cert, "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def rest(tls):
    app = OipRest(lambda _: (None, RecordingInference()), settings=RestOptions())
    return RestListener(app, "127.0.0.1", 0, tls)


LISTENERS = {
    "rest": rest,
    "grpcio": lambda tls: GrpcListener(RecordingInference(), "127.0.0.1", 0, tls),
    "lean": lambda tls: LeanListener(RecordingInference(), "127.0.0.1", 0, tls),
}


BEGINNINGS = {
    "http/1.1": b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "h2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
}


def shake_hands(port, context, name):
    """The certificate that the port shows, in DER; OSError when it does not like ours, which TLS 1.3 tells afterwards."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
        secure.sendall(BEGINNINGS[secure.selected_alpn_protocol()])
        if not secure.recv(1):
            raise ConnectionError("the port hung up")
        return shown


def client(protocol, shown=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


def der(cert):
    return ssl.PEM_cert_to_DER_cert(cert.read_text())


@pytest.fixture
def looks_at_once(monkeypatch):
    monkeypatch.setattr(reread, "LOOK_SECONDS", 0.0)


@pytest.mark.parametrize("name", [None, "localhost"])
@pytest.mark.parametrize("kind", LISTENERS)
async def test_new_connections_get_the_new_certificate(tmp_path, looks_at_once, caplog, kind, name):
    """Exchanged files are shown at the next handshake; half an exchange changes nothing and is said once."""
    caplog.set_level(logging.INFO)
    cert, key = make(tmp_path, "now")
    listener = LISTENERS[kind](Tls(cert, key))
    await listener.start()
    try:

        async def shown():
            protocol = "http/1.1" if kind == "rest" else "h2"
            return await asyncio.to_thread(shake_hands, listener.port, client(protocol), name)

        first = der(cert)
        assert await shown() == first
        new_cert, new_key = make(tmp_path, "new")
        new_cert.replace(cert)
        assert await shown() == await shown() == first
        said = [line for line in caplog.messages if "cannot use certificate" in line]
        assert len(said) == 1
        assert str(tmp_path) not in said[0]
        new_key.replace(key)
        assert await shown() == der(cert) != first
    finally:
        await listener.stop(0)


@pytest.mark.parametrize("kind", LISTENERS)
async def test_authorities_of_clients_are_exchanged_too(tmp_path, looks_at_once, kind):
    """After an exchange the new authority's clients are let in, and those of the old one are not."""
    cert, key = make(tmp_path, "server")
    old, new = make(tmp_path, "old"), make(tmp_path, "new")
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(old[0].read_bytes())
    listener = LISTENERS[kind](Tls(cert, key, authorities))
    await listener.start()
    try:

        async def is_let_in(shown):
            protocol = "http/1.1" if kind == "rest" else "h2"
            try:
                await asyncio.to_thread(shake_hands, listener.port, client(protocol, shown), "localhost")
            except OSError:
                return False
            return True

        assert [await is_let_in(old), await is_let_in(new)] == [True, False]
        authorities.write_bytes(new[0].read_bytes())
        assert [await is_let_in(old), await is_let_in(new)] == [False, True]
    finally:
        await listener.stop(0)


@pytest.mark.parametrize("kind", ["rest", "lean"])
async def test_a_connection_that_has_closed_itself_may_be_closed(tmp_path, kind):
    """Its loss is told a turn later than it closes; a listener that stops in between asks and closes it all the same."""
    listener = LISTENERS[kind](Tls(*make(tmp_path, "now")))
    await listener.start()
    try:
        protocol = "http/1.1" if kind == "rest" else "h2"
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=client(protocol))
        writer.write(BEGINNINGS[protocol])
        async with asyncio.timeout(10):
            while not (connections := listener.http.connections if kind == "rest" else listener._service.connections):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
        (connection,) = connections
        if kind == "rest":
            connection.transport.close()
            connection.close_if_idle()
            assert connection.busy in {True, False}
            connection.look(connection.loop.time())
        else:
            connection.socket._transport.close()
            connection.socket.close()
        writer.close()
    finally:
        await listener.stop(0)
