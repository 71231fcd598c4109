"""Pairs of real services, as a user runs them: what is the same, what differs, what is measured, what goes wrong."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import CALL, GREETER, NAME, ROOT, Http, asked, await_listening, free_port, pair, started

from crossover.comparison.services import certificates

SMALL = ("--blocks", "2", "--turns", "2", "--slice", "0.1", "--rate", "60", "--connections", "4")


@pytest.fixture(scope="module")
def greeters():
    """Both greeters, and the flags that name them."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with started("greeter_grpc.py", grpc) as one, started("greeter_rest.py", rest) as other:
        flags = ("--grpc", grpc, "--call", CALL, "--grpc-data", NAME, "--rest", f"POST http://{rest}/v1/hello",
                 "--rest-data", NAME)  # fmt: skip
        yield type("Greeters", (), {"grpc": grpc, "rest": rest, "flags": flags, "pids": (one.pid, other.pid)})


pytestmark = pytest.mark.timeout(400)  # runs of some seconds, on a machine whose other workers are at work too
ROWS = ("--data", GREETER / "rows.jsonl")


def test_dry_run_shows_both_replies_and_stops(greeters):
    """One call each over what reflection says, every row compared, nothing measured, exit code 0."""
    done = asked(*greeters.flags, *ROWS, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada!" in done.stdout
    assert "4 rows asked of both" in done.stdout


@pytest.fixture(scope="module")
def measured(greeters, tmp_path_factory):
    out = tmp_path_factory.mktemp("pair") / "run"
    pids = ("--pid-grpc", greeters.pids[0], "--pid-rest", greeters.pids[1])
    return out, pair(*greeters.flags, *ROWS, *SMALL, *pids, "--out", out, "--fail-if", "ratio > 100 where metric = p50")


def test_a_pair_is_measured_like_our_own_services(measured):
    """Arms `grpc` and `rest`, p50 and CPU, right answers, both sides' A/A, the delay in the client's path, a report."""
    out, done = measured
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["services"] == "pair"
    cells = {cell["metric"] for cell in summary["cells"] if cell["pair"] == ["grpc", "rest"]}
    assert cells >= {"p50", "cpu", "wire_bytes", "message_bytes"}
    assert {"grpc", "rest", "grpc-client", "rest-client"} <= {row["arm"] for row in summary["arms"]}
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    assert {row["arm"] for row in summary["controls"]["again"]} == {"grpc", "rest"}
    assert {row["metric"] for row in summary["controls"]["known_delay"]} == {"alone"}
    coded = {row["arm"] for row in summary["arms"] if row["cpu_us"].get("caller", 0) > 0}
    assert coded == {"grpc-client", "rest-client"}
    assert "requests/s" in done.stdout
    assert (out / "report.html").exists()
    assert json.loads((out / "provenance.json").read_text())["packages"]["grpcio"]


def test_the_known_delay_is_in_every_request_of_the_control(measured):
    """No request of the control took less than the delay."""
    from crossover.comparison.design import outcomes as out
    from crossover.comparison.design import samples

    found = samples.read(measured[0])
    tables = [table for line, table in found.slices if line.arm == "control"]
    assert tables
    assert all((table[:, out.DONE] - table[:, out.SENT] >= found.experiment.busy_ns[line.cell]).all()
               for line, table in found.slices if line.arm == "control")  # fmt: skip


def test_both_arms_of_a_block_get_the_same_rows_at_the_same_times(measured):
    """Slices of a block, cell and turn share their seed, hence the schedule and the rows."""
    from crossover.comparison.design import samples

    seeds = {}
    for line, _ in samples.read(measured[0]).slices:
        if line.kind == "load" and line.kept:
            seeds.setdefault((line.block, line.cell, line.turn), set()).add(line.seed)
    assert seeds
    assert all(len(found) == 1 for found in seeds.values())


@pytest.mark.slow
def test_without_processes_nothing_is_said_of_the_services_cpu(greeters, tmp_path):
    """No pid, no start command: no `cpu` at all, but the client's, called so."""
    done = pair(*greeters.flags, *ROWS, *SMALL, "--out", tmp_path / "run", "--json-is-not-a-flag")
    assert done.returncode == 2
    done = pair(*greeters.flags, *ROWS, *SMALL, "--out", tmp_path / "run")
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics = {cell["metric"] for cell in summary["cells"]}
    assert "cpu" not in metrics
    assert "client_cpu" in metrics
    assert "nothing is said of their CPU" in " ".join(done.stdout.split())


@pytest.mark.parametrize("how", ["proto", "protoset", "neither"])
def test_a_service_without_reflection_is_described_by_files(how, greeters, tmp_path):
    """--proto with --import-path, or --protoset; without either one sentence says so."""
    grpc = f"127.0.0.1:{free_port()}"
    flags = list(greeters.flags)
    flags[1] = grpc
    described = {"proto": ("--proto", "greeter.proto", "--import-path", GREETER), "neither": ()}
    if how == "protoset":
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{GREETER}", "-o", tmp_path / "set", "greeter.proto"],
            check=True,
        )
        described["protoset"] = ("--protoset", tmp_path / "set")
    with started("greeter_grpc.py", grpc, "--no-reflection"):
        done = asked(*flags, *ROWS, "--dry-run", *described[how])
    if how == "neither":
        assert done.returncode == 2
        assert "--proto FILE --import-path DIR or --protoset FILE" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return certificates.made(tmp_path_factory.mktemp("tls"), ["127.0.0.1"])


@pytest.mark.slow
def test_both_sides_over_tls(certificate, tmp_path):
    """--cacert verifies both; without it both are refused in one sentence; --insecure does not look."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    secret = ("--tls-cert", certificate[0], "--tls-key", certificate[1])
    flags = (
        "--grpc",
        grpc,
        "--call",
        CALL,
        "--grpc-data",
        NAME,
        "--rest",
        f"POST https://{rest}/v1/hello",
        "--rest-data",
        NAME,
    )
    with started("greeter_grpc.py", grpc, *secret), started("greeter_rest.py", rest, *secret):
        good = pair(*flags, *ROWS, *SMALL, "--out", tmp_path / "run", "--cacert", certificate[0])
        assert good.returncode in {0, 4}, good.stderr
        assert all(cell["tls"] for cell in json.loads((tmp_path / "run" / "summary.json").read_text())["cells"])
        refused = asked(*flags, *ROWS, "--dry-run")
        assert refused.returncode == 2
        assert "certificate" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert asked(*flags, *ROWS, "--dry-run", "--insecure").returncode == 0
        plain = asked("--grpc", f"grpc://{grpc}", *flags[2:], *ROWS, "--dry-run", "--cacert", certificate[0])
        assert plain.returncode == 2
        assert "Traceback" not in plain.stderr


def test_tls_on_one_side_is_named(certificate, greeters):
    """What differs besides the protocol is said before anything is measured."""
    rest = f"127.0.0.1:{free_port()}"
    with started("greeter_rest.py", rest, "--tls-cert", certificate[0], "--tls-key", certificate[1]):
        flags = [f"POST https://{rest}/v1/hello" if str(flag).startswith("POST") else flag for flag in greeters.flags]
        done = asked(*flags, *ROWS, "--dry-run", "--cacert", certificate[0])
    assert done.returncode == 0, done.stderr
    assert "TLS on one side alone: HTTP" in done.stdout


def test_unix_sockets_and_ipv6(tmp_path):
    """Both sides over either."""
    grpc, rest = f"unix:{tmp_path}/g.sock", f"unix:{tmp_path}/r.sock"
    with started("greeter_grpc.py", grpc), started("greeter_rest.py", rest):
        flags = ("--call", CALL, "--grpc-data", NAME, "--rest-data", NAME, *ROWS, "--dry-run")
        for given in (
            ("--rest", f"POST {rest}:/v1/hello"),
            ("--rest", "POST http://localhost/v1/hello", "--unix-socket", rest[5:]),
        ):
            done = asked("--grpc", grpc, *given, *flags)
            assert done.returncode == 0, done.stderr
    port = free_port("::1"), free_port("::1")
    with started("greeter_grpc.py", f"[::1]:{port[0]}"), started("greeter_rest.py", f"[::1]:{port[1]}"):
        done = asked("--grpc", f"[::1]:{port[0]}", "--rest", f"POST http://[::1]:{port[1]}/v1/hello", *flags)
        assert done.returncode == 0, done.stderr


def _hello(name="Ada", letters=3, head="", sum_=""):
    body = json.dumps({"message": f"Hello, {name}!", "lettersInName": letters, "photoSum": sum_}).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


def _with(greeters, port, *more, ask=pair):
    flags = [f"POST http://127.0.0.1:{port}/x" if str(flag).startswith("POST") else flag for flag in greeters.flags]
    flags = [NAME.replace("{{name}}", "Ada") if flag == NAME else flag for flag in flags]
    return ask(*flags, *more)


def test_a_pair_that_answers_differently_is_refused_before_measuring(greeters, tmp_path):
    """Both replies are shown with what differs; exit code 2, and no run is left."""
    with Http(lambda *_: _hello("Eve")) as other:
        done = _with(greeters, other.port, *SMALL, "--out", tmp_path / "run", ask=asked)
    assert done.returncode == 2
    assert "Hello, Ada!" in done.stdout and "Hello, Eve!" in done.stdout
    assert "grpc.message" in done.stderr
    assert not (tmp_path / "run" / "summary.json").exists()


def _lines(out):
    slices = out / "samples" / "slices.jsonl"
    return len(slices.read_text().splitlines()) if slices.exists() else 0


@pytest.mark.parametrize("good", [3, 4])
def test_a_wrong_reply_during_a_run_gives_no_verdict(greeters, tmp_path, good):
    """Exit code 1, the run ends early, and not one cell has a number, whether a slice or the question before a block met it."""
    out = tmp_path / "run"
    long = ("--blocks", "50", "--turns", "2", "--slice", "0.2", "--rate", "60")
    with Http(lambda *_: _hello("Ada" if _lines(out) < good else "Eve")) as other:
        done = _with(greeters, other.port, *long, "--arms", "grpc", "rest", "--out", out)
    assert done.returncode == 1, done.stdout + done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["complete"] is False
    assert {cell["verdict"] for cell in summary["cells"]} <= {"invalid"}
    assert "No verdict" in done.stdout
    assert "Eve" in done.stderr


def test_a_wrong_reply_before_the_first_slice_is_no_usage_error(greeters, tmp_path):
    """The pair was the same when it was asked, and is not while it is probed: exit code 1, and no verdict at all."""
    with Http(lambda number, _: _hello("Ada" if number < 9 else "Eve")) as other:
        done = _with(greeters, other.port, *SMALL, "--out", tmp_path / "run")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Eve" in done.stderr
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"%x\r\n%s\r\n" % (len(part), part) for part in (b'{"message": "Hello, Ada!",', b' "lettersInName": "3"}')
        ) + b"0\r\nTrailer: x\r\n\r\n",
        lambda *_: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + _hello(),
        lambda *_: _hello(head="Connection: close\r\n"),
        lambda *_: b'HTTP/1.0 200 OK\r\n\r\n{"message": "Hello, Ada!", "lettersInName": 3}',
    ],
    ids=["chunked", "early hints", "connection: close", "http/1.0"],
)  # fmt: skip
def test_replies_in_every_form_of_http1(answer, greeters, tmp_path):
    """RFC 9112, 6.3: chunks with trailers, informational replies, bodies that the connection ends."""
    closes = b"close" in answer(1, b"") or answer(1, b"").startswith(b"HTTP/1.0")
    with Http(answer, close_after=closes) as other:
        done = _with(greeters, other.port, *SMALL, "--blocks", "1", "--arms", "grpc", "rest", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    assert ("a connection for each request" in " ".join(summary["differences"])) is closes


def test_what_differs_besides_the_protocol_is_named(greeters):
    """Compression, a proxy, a cache, and replies of another size, each from the replies themselves."""
    body = json.dumps({"message": "Hello, Ada!", "padding": "y" * 500}).encode()
    head = f'Content-Length: {len(body)}\r\nContent-Encoding: br\r\nVia: 1.1 proxy\r\nETag: "x"\r\n\r\n'
    with Http(lambda *_: b"HTTP/1.1 200 OK\r\n" + head.encode() + body) as other:
        done = _with(greeters, other.port, "--dry-run", "--same", "grpc.message == rest.message", ask=asked)
    assert done.returncode == 0, done.stderr
    for named in ("compresses its replies (br)", "a proxy on one side alone: HTTP", "ETag", "different size"):
        assert named in done.stdout


@pytest.mark.slow
def test_a_killed_service_ends_the_run_early(tmp_path):
    """SIGKILL in the middle: exit code 1 long before the planned end, with a complaint, and what was measured is kept."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    flags = (
        "--grpc",
        grpc,
        "--call",
        CALL,
        "--grpc-data",
        NAME,
        "--rest",
        f"POST http://{rest}/v1/hello",
        "--rest-data",
        NAME,
    )
    with started("greeter_grpc.py", grpc), started("greeter_rest.py", rest) as victim:
        out = tmp_path / "run"

        def kill():
            slices = out / "samples" / "slices.jsonl"
            until = time.monotonic() + 90
            while not (slices.exists() and len(slices.read_text().splitlines()) >= 9) and time.monotonic() < until:
                time.sleep(0.05)
            victim.send_signal(signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        done = pair(*flags, *ROWS, "--blocks", "500", "--slice", "0.1", "--rate", "60", "--out", out, "--timeout", "3s")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ended early" in done.stderr
    assert "'rest" in done.stderr or "HTTP service" in done.stderr
    assert json.loads((out / "summary.json").read_text())["complete"] is False


def _file(tmp_path, grpc, rest, **more):
    lines = {
        "grpc": grpc, "call": CALL, "grpc-data": NAME, "rest": f"POST http://{rest}/v1/hello", "rest-data": NAME,
        "data": "rows.jsonl",
        "start-grpc": f"exec {sys.executable} {GREETER}/greeter_grpc.py --listen {grpc}",
        "start-rest": f"exec {sys.executable} {GREETER}/greeter_rest.py --listen {rest}", "ready": ["grpc-health", "http:/health"],
    } | more  # fmt: skip
    (tmp_path / "rows.jsonl").write_text((GREETER / "rows.jsonl").read_text())
    path = tmp_path / "pair.yaml"
    path.write_text(json.dumps(lines))
    return path


@pytest.mark.slow
def test_a_file_starts_both_services_anew_for_every_block_and_compares_cases(tmp_path):
    """Fresh processes a block, a cell for each case and one for their mix, and nothing left running."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    cases = [
        {"name": "small", "weight": 9, "grpc-data": {"name": "a"}, "rest-data": {"name": "a"}},
        {"name": "large", "weight": 1, "grpc-data": {"name": "b" * 9000}, "rest-data": {"name": "b" * 9000}},
    ]
    path = _file(tmp_path, grpc, rest, cases=cases)
    out = tmp_path / "run"
    done = pair(path, *SMALL, "--arms", "grpc", "rest", "grpc-again", "--out", out, timeout=200)
    assert done.returncode in {0, 4}, done.stderr + done.stdout
    summary = json.loads((out / "summary.json").read_text())
    assert {cell["case"] for cell in summary["cells"]} == {"small", "large", "mix"}
    assert "cpu" in {cell["metric"] for cell in summary["cells"]}
    assert [found["values"] for found in summary["crossovers"] if found["over"] == "payload"]
    assert summary["starts"]["cold_start_s"] > 0
    with pytest.raises(AssertionError):
        await_listening(grpc, 0.5)


@pytest.mark.slow
def test_a_service_that_does_not_start_is_one_sentence_with_its_last_words(tmp_path):
    """What it wrote last is in the sentence; exit code 2."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    path = _file(tmp_path, grpc, rest, **{"start-rest": "echo no database here; exit 7"})
    done = asked(path, "--dry-run")
    assert done.returncode == 2
    assert "exit code 7" in done.stderr and "no database here" in done.stderr


@pytest.mark.slow
def test_init_writes_a_file_that_pair_reads(greeters, tmp_path):
    """From reflection, with a request that has every field; pair takes it once the endpoint is filled in."""
    path = tmp_path / "pair.yaml"
    done = asked("init", "--grpc", greeters.grpc, "--rest", f"POST http://{greeters.rest}/v1/hello", "--out", path)
    assert done.returncode == 0, done.stderr
    assert '\\"times\\": 1' in path.read_text()
    assert asked(path, "--dry-run").returncode == 0
    again = asked("init", "--grpc", greeters.grpc, "--out", path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--call": "greeter.v1.Greeter/Nope"}, "has no method 'Nope'"),
        ({"--call": "nope.Service/M"}, "does not know 'nope.Service'"),
        ({"--call": "greeter.v1.Greeter/Countdown"}, "stream"),
        ({"--grpc-data": '{"nom": "x"}'}, 'no field named "nom"'),
        ({"--grpc-data": '{"name": "{{nom}}"}'}, "'{{nom}}'"),
        ({"--grpc": ""}, "pair needs --grpc"),
        ({"--rest": ""}, "pair needs --rest"),
        ({"--grpc": "127.0.0.1:9"}, "no connection to the gRPC service"),
        ({"--rest": "POST http://127.0.0.1:9/x"}, "does not answer"),
        ({"--same": "grpc.message = rest.message"}, "is no rule"),
        ({"--same": "grpc.nowhere == rest.message"}, "grpc.nowhere is not in the reply"),
        ({"--expect-status": "404"}, "HTTP answered 200"),
        ({"--expect-code": "NOT_FOUND"}, "gRPC answered OK"),
        ({"--expect-code": "FINE"}, "--expect-code takes one of"),
        ({"--timeout": "soon"}, "--timeout takes a time"),
        ({"--arms": "carrier-pigeon"}, "is not an arm of a pair"),
        ({"--blocks": "0"}, "--blocks takes values"),
        ({"--slice": "0"}, "--slice takes values"),
        ({"--connections": "0"}, "--connections takes values"),
        ({"--fail-if": "metric = latency"}, "'latency' is no metric"),
        ({"--price-vcpu-hour": "nan"}, "--price-vcpu-hour takes a number"),
        ({"--pid-grpc": "999999999"}, "there is no process 999999999"),
        ({"--ready": "soon"}, "--ready goes with"),
        ({"--network": "region"}, "--network needs services that the lab starts"),
        ({"-H": "x: ${NOT_IN_THE_ENVIRONMENT}"}, "no variable 'NOT_IN_THE_ENVIRONMENT'"),
        ({"--data": "/nowhere.jsonl"}, "cannot be read"),
        ({"--proto": "/nowhere.proto"}, "cannot be read"),
        ({"--cacert": "/nowhere.pem"}, "cannot be used as a certificate authority"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(changed, said, greeters, tmp_path, capsys, monkeypatch):
    """Exit code 2, one sentence, no traceback, nothing measured."""
    from crossover.comparison.__main__ import main

    given = dict(zip(greeters.flags[::2], greeters.flags[1::2], strict=True)) | {"--data": str(GREETER / "rows.jsonl")}
    arguments = [
        "pair",
        *(str(text) for flag in (given | changed).items() for text in flag),
        "--out",
        str(tmp_path / "run"),
    ]
    monkeypatch.setattr(sys, "argv", ["comparison", *arguments])
    assert main(arguments) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in sentence
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "holds no names"), ("a: [", "is not YAML"), ("grcp: x", "'grcp' in"), ("cases: 3", "a list of cases"),
        ("cases: [{nome: x}]", "case 1 in"), ("dry-run: maybe", "is true or false"),
        ("{grpc: '127.0.0.1:1', call: a.B/C, rest: 'http://h/', cases: [{name: a, weight: -1}]}", "weight"),
        ("{grpc: '127.0.0.1:1', call: a.B/C, rest: 'http://h/', cases: [{name: a}, {name: a}]}", "same name"),
    ],
)  # fmt: skip
def test_a_file_that_says_nonsense_is_one_sentence(content, said, tmp_path, capsys, monkeypatch):
    """The key or case that is wrong is named."""
    from crossover.comparison.__main__ import main

    path = tmp_path / "pair.yaml"
    path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["comparison", "pair", str(path)])
    assert main(["pair", str(path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_secrets_stay_out_of_what_is_kept(greeters, tmp_path):
    """A header from the environment reaches both services and no file of the run."""
    out = tmp_path / "run"
    done = pair(
        *greeters.flags, *ROWS, *SMALL, "--blocks", "1", "--arms", "grpc", "rest", "--out", out, "-H", "X-Token: ${PAIR_TOKEN}",
        environment={"PAIR_TOKEN": "s3cr3t-value"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not [path for path in out.rglob("*") if path.is_file() and b"s3cr3t-value" in path.read_bytes()]
    assert os.environ.get("PAIR_TOKEN") is None
    assert ROOT.exists()
