"""The arms of a pair that not every service offers: HTTP/2, a connection for each request, Connect, gRPC-Web."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import CALL, GREETER, NAME, Http, asked, await_listening, free_port, pair, started

from crossover.comparison.load import http1
from crossover.comparison.load.sockets import Address, Tls
from crossover.comparison.pair import forms, sides
from crossover.comparison.pair.forms import FORMS
from crossover.comparison.pair.subject import PairView
from crossover.comparison.services import certificates

GRPC = sides.GrpcSide(Address("127.0.0.1", 1), "there:1", (("x-token", "t"),), 2.0)
REST = sides.RestSide(Address("127.0.0.1", 2), "here:2", "POST", "/v1/hello")


def test_an_http1_request_in_http2():
    """Pseudo-headers first, the host as :authority, names in lower case, the body as it was (RFC 9113 8.3.1)."""
    data = http1.request_bytes("POST", "/v1/hello?a=b", "here:2", {"Content-Type": "application/json"}, b"{}")
    made = forms.as_http2(GRPC, REST, "", data)
    assert made.fields == (
        (":method", "POST"), (":scheme", "http"), (":path", "/v1/hello?a=b"), (":authority", "here:2"),
        ("content-length", "2"), ("content-type", "application/json"),
    )  # fmt: skip
    assert made.body == b"{}"


def test_a_call_by_the_connect_protocol():
    """The bare message behind the protocol's headers, and the call's own metadata."""
    head, _, body = forms.as_connect(GRPC, REST, "/a.B/C", sides.framed(b"message")).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a.B/C HTTP/1.1"
    assert {"host: there:1", "content-length: 7", "content-type: application/proto", "connect-protocol-version: 1",
            "connect-timeout-ms: 2000", "x-token: t"} <= set(lines)  # fmt: skip
    assert body == b"message"


def _reply(status, kind, body, more=b""):
    return http1.Reply(status, b"HTTP/1.1 %d\r\ncontent-type: %s%s" % (status, kind, more), body)


def _trailers(text):
    return b"\x80" + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("read", "reply", "code", "message"),
    [
        (forms.connect_answer, _reply(200, b"application/proto", b"m"), "OK", b"m"),
        (forms.connect_answer, _reply(404, b"application/json", b'{"code":"not_found","message":"no"}'), "NOT_FOUND", None),
        (forms.connect_answer, _reply(408, b"application/json", b'{"code":"canceled"}'), "CANCELLED", None),
        (forms.connect_answer, _reply(200, b"text/html", b"<p>hello"), "UNKNOWN", None),
        (forms.connect_answer, _reply(404, b"application/json", b'{"detail":"Not Found"}'), "UNKNOWN", None),
        (forms.connect_answer, _reply(404, b"application/json", b"[]"), "UNKNOWN", None),
        (forms.web_answer, _reply(200, b"", sides.framed(b"m") + _trailers(b"grpc-status: 0\r\n")), "OK", b"m"),
        (forms.web_answer, _reply(200, b"", sides.framed(b"") + _trailers(b"grpc-status:0\r\n")), "OK", b""),
        (forms.web_answer, _reply(200, b"", _trailers(b"grpc-status: 5\r\ngrpc-message: no%20such\r\n")), "NOT_FOUND", None),
        (forms.web_answer, _reply(200, b"", b"", b"\r\ngrpc-status: 12"), "UNIMPLEMENTED", None),
        (forms.web_answer, _reply(200, b"", sides.framed(b"m")), "UNKNOWN", None),
        (forms.web_answer, _reply(404, b"", b"not found"), "UNKNOWN", None),
    ],
)  # fmt: skip
def test_replies_of_connect_and_grpc_web(read, reply, code, message):
    """Status and message from where each protocol has them; what is neither is UNKNOWN, never right."""
    answer = read(reply)
    assert (answer.code, answer.message) == (code, message)


class Both:
    """A port like a Connect server's: HTTP/2 goes to a gRPC service, HTTP/1.1 is answered by Connect and gRPC-Web."""

    def __init__(self, target, message):
        host, _, port = target.rpartition(":")
        self._target, self._message = (host, int(port)), message
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            if connection.recv(3, socket.MSG_PEEK) == b"PRI":
                with socket.create_connection(self._target) as other:
                    back = threading.Thread(target=self._copy, args=(other, connection), daemon=True)
                    back.start()
                    self._copy(connection, other)
                return
            with connection.makefile("rb") as stream:
                while head := self._head(stream):
                    stream.read(int(head[b"content-length"]))
                    connection.sendall(self._answer(head[b"content-type"]))

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)

    @staticmethod
    def _head(stream):
        found = {}
        while (line := stream.readline()) not in {b"\r\n", b""}:
            name, _, value = line.partition(b":")
            found[name.strip().lower()] = value.strip()
        return found

    def _answer(self, kind):
        body = self._message
        if kind == b"application/grpc-web+proto":
            body = sides.framed(body) + _trailers(b"grpc-status: 0\r\n")
        return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


@contextlib.contextmanager
def hypercorn():
    """The REST greeter on a server that speaks HTTP/2 without TLS too."""
    listen = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "hypercorn", "greeter_rest:app", "--bind", listen], cwd=GREETER,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_listening(listen)
        yield listen
    finally:
        process.kill()
        process.wait()


HELLO_ADA = b"\x0a\x0bHello, Ada!\x10\x03"
"""HelloReply with its message and three letters."""


@pytest.mark.slow
def test_every_form_is_offered_measured_and_judged(tmp_path):
    """--dry-run names what is offered; --arms measures it, right answers and all, and each is judged in a pair of its own."""
    with (
        started("greeter_grpc.py", grpc := f"127.0.0.1:{free_port()}"),
        Both(grpc, HELLO_ADA) as both,
        hypercorn() as rest,
    ):
        flags = (
            "--grpc", f"127.0.0.1:{both.port}", "--call", CALL, "--grpc-data", NAME.replace("{{name}}", "Ada"),
            "--rest", f"POST http://{rest}/v1/hello", "--rest-data", NAME.replace("{{name}}", "Ada"),
        )  # fmt: skip
        done = asked(*flags, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "(--arms): rest-h2, rest-no-keepalive, connect, grpc-web" in done.stdout
        plain = [name for name in forms.FORMS if name != forms.REST_RESUMED]
        done = pair(
            *flags, "--arms", "grpc", "rest", "grpc-again", "rest-again", *plain, "--blocks", "2", "--turns", "2",
            "--slice", "0.1", "--rate", "60", "--connections", "4", "--out", tmp_path / "run",
        )  # fmt: skip
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    arms = {row["arm"]: row for row in summary["arms"]}
    assert all(arms[name]["answered"] == arms[name]["requests"] > 0 for name in plain)
    pairs = {tuple(cell["pair"]) for cell in summary["cells"]}
    assert pairs >= {("grpc", "rest-h2"), ("grpc", "rest-no-keepalive"), ("connect", "rest"), ("grpc-web", "rest")}
    opened = [json.loads(line) for line in (tmp_path / "run" / "samples" / "slices.jsonl").read_text().splitlines()]
    assert all(line["opened"] >= 6 for line in opened if line["arm"] == "rest-no-keepalive" and line["kind"] == "load")


def test_a_second_connection_resumes_the_first_ones_session(tmp_path):
    """With `resume` every handshake after the first is a short one; without it none is; a service that forgets is refused."""
    certificate, key = certificates.made(tmp_path, ["127.0.0.1"])
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    reused = []

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with made.wrap_socket(plain, server_side=True) as connection:
                    reused.append(connection.session_reused)
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        address = Address("127.0.0.1", listener.getsockname()[1], tls=Tls(ca=str(certificate)))

        def ask(resume):
            connection = http1.Connection(address, once=True, resume=resume)
            sides.answered(connection, b"GET / HTTP/1.1\r\n\r\n", 10)
            connection.close()

        for resume in (False, False, True, True, True):
            ask(resume)
        assert reused == [False, False, False, True, True]
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(certificate, key)
        with pytest.raises(OSError, match="does not resume"):
            ask(True)


def test_all_forms_are_asked_at_the_same_time():
    """A service that answers one of them with silence holds up no other."""
    together = threading.Barrier(len(FORMS))
    view = SimpleNamespace(load=lambda *_: None, _not_offered=lambda _: str(together.wait(60)))
    assert sorted(PairView.not_offered(view, list(FORMS), None)) == sorted(FORMS)


def test_a_reply_that_is_no_http_is_seen_at_its_first_bytes():
    """A gRPC server sends its SETTINGS and then nothing: no waiting for the end of a head."""
    with Http(lambda _number, _request: b"\0\0\6\4\0") as server:
        connection = http1.Connection(Address("127.0.0.1", server.port))
        with pytest.raises(OSError, match=r"does not answer in HTTP/1\.1"):
            sides.answered(connection, b"GET / HTTP/1.1\r\n\r\n", 60)
        connection.close()


def test_a_form_that_is_not_offered_is_refused(tmp_path):
    """One sentence before anything is measured: a grpc.aio server speaks no Connect."""
    with (
        started("greeter_grpc.py", grpc := f"127.0.0.1:{free_port()}"),
        started("greeter_rest.py", rest := f"127.0.0.1:{free_port()}"),
    ):
        done = asked(
            "--grpc", grpc, "--call", CALL, "--grpc-data", '{"name": "Ada"}', "--rest", f"POST http://{rest}/v1/hello",
            "--rest-data", '{"name": "Ada"}', "--arms", "grpc", "rest", "connect", "--out", tmp_path / "run",
        )  # fmt: skip
    assert done.returncode == 2
    assert "--arms connect: the services do not offer it" in done.stderr
