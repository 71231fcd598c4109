"""Traces over every wire, as a collector gets them: the caller's context goes in, one tree of spans of both services comes out."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crossover.protocol.wires import WIRES
from crossover.service import tracing
from crossover.service.settings import ServiceSettings
from crossover.stack.services import running

collector_pb = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HOPS = [name for name, wire in WIRES.items() if wire.kind != "process"]
DIGIT = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
ERROR, CONSUMER = 2, 5


class Collector:
    """OTLP over HTTP on a port of its own; keeps what it is told."""

    def __init__(self) -> None:
        collector, found = self, []
        self.spans, self.status = found, 200

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    for part in collector_pb.ExportTraceServiceRequest.FromString(body).resource_spans:
                        named = {item.key: item.value.string_value for item in part.resource.attributes}
                        found.extend(
                            (named["service.name"], span) for scope in part.scope_spans for span in scope.spans
                        )
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def of(self, trace: str, count: int) -> list:
        """The spans of a trace, once there are so many."""
        until = time.monotonic() + 15
        while True:
            found = [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.05)


@pytest.fixture(scope="module")
def collector():
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def traced(collector, tmp_path_factory):
    """Both services with the collector."""
    folder = tmp_path_factory.mktemp("traced")
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER_ARG": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "GATEWAY_UPSTREAM_HEADER": "1",
        "DATA_DIR": str(folder),
    }
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack


def test_a_collector_that_is_away_is_told_once(caplog):
    """And once that it is back: not two lines a batch, and not the user and password in its URL."""
    otlp = pytest.importorskip("crossover.service.otlp")
    collector = Collector()
    exporter = otlp._Exporter(f"{collector.url.replace('//', '//user:hidden@')}/v1/traces")
    for collector.status in (200, 400, 400, 200, 200):
        exporter.export([])
    collector.server.shutdown()
    collector.server.server_close()
    assert [record.getMessage() for record in caplog.records if record.name != "urllib3.connectionpool"] == [
        f"the collector at {collector.url} takes no spans; they are lost until it does",
        f"the collector at {collector.url} takes spans again",
    ]


def post(stack, path: str, body: object, **headers: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.environment["GATEWAY_PORT"]), timeout=20)
    sent = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    connection.request("POST", path, json.dumps(body), sent)
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status, {name.lower(): text for name, text in reply.getheaders()}


def by_name(found) -> dict[str, object]:
    """Gateway's and model server's spans by short names."""
    named = {}
    for service, span in found:
        short = span.name if span.name in ("hop", "queue", "model") else service.removeprefix("crossover-")
        assert short not in named, short
        named[short] = span
    return named


@pytest.mark.parametrize("upstream", HOPS)
def test_one_tree_over_every_wire(collector, traced, upstream):
    """gateway > hop > model server > queue and model, in one trace below the caller's span, each within its parent's time."""
    trace = f"{HOPS.index(upstream) + 1:032x}"
    parent = f"00-{trace}-{PARENT}-01"
    status, headers = post(
        traced, "/v2/models/digits/infer", DIGIT, inference_upstream=upstream, traceparent=parent, tracestate="a=b"
    )
    assert status == 200
    assert "inference-timeline" not in headers and "server-timing" not in headers
    spans = by_name(collector.of(trace, 5))
    assert set(spans) == {"gateway", "hop", "model-server", "queue", "model"}
    parents = {
        "gateway": PARENT,
        "hop": "gateway",
        "model-server": "hop",
        "queue": "model-server",
        "model": "model-server",
    }
    for name, above in parents.items():
        span = spans[name]
        assert span.parent_span_id.hex() == (above if above == PARENT else spans[above].span_id.hex()), name
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.trace_state == "a=b"
        if above != PARENT:
            slack = 2_000_000  # clocks of two processes are read one after the other
            assert spans[above].start_time_unix_nano <= span.start_time_unix_nano + slack, name
            assert span.end_time_unix_nano <= spans[above].end_time_unix_nano + slack, name
    said = {item.key: item.value for item in spans["gateway"].attributes}
    assert said["http.response.status_code"].int_value == 200
    assert said["crossover.request_id"].string_value == headers["x-request-id"]


def test_predictions_are_traced(collector, traced):
    """Under /api each call of a request that makes several has a hop of its own."""
    trace = f"{0xABC:032x}"
    status, _ = post(
        traced,
        "/api/predictions",
        {"requests": [{"model": "digits", **DIGIT}] * 2},
        traceparent=f"00-{trace}-{PARENT}-01",
    )
    assert status == 201
    found = collector.of(trace, 9)
    names = sorted(span.name for _, span in found)
    assert names.count("hop") == names.count("model") == names.count("queue") == 2
    (root,) = [span for _, span in found if span.name == "POST /api/predictions"]
    assert {span.parent_span_id for _, span in found if span.name == "hop"} == {root.span_id}
    assert root.parent_span_id.hex() == PARENT


def test_a_queued_prediction_stays_in_the_trace(collector, traced):
    """Work that is accepted with 202 runs below the span of the request that queued it, after a span of its waiting."""
    trace = f"{0xCAFE:032x}"
    parent = f"00-{trace}-{PARENT}-01"
    status, _ = post(
        traced, "/api/predictions", {"model": "digits", **DIGIT},
        prefer="respond-async", traceparent=parent, tracestate="a=b",
    )  # fmt: skip
    assert status == 202
    spans = {span.name: span for _, span in collector.of(trace, 7)}
    accepted, worked, waited = (spans[n] for n in ("POST /api/predictions", "process predictions", "wait"))
    assert {worked.parent_span_id, waited.parent_span_id} == {accepted.span_id}
    assert spans["hop"].parent_span_id == worked.span_id
    assert {"queue", "model"} <= spans.keys() and {span.trace_state for span in spans.values()} == {"a=b"}
    assert worked.kind == CONSUMER
    assert waited.start_time_unix_nano <= waited.end_time_unix_nano == worked.start_time_unix_nano


def test_a_failure_says_its_code(collector, traced):
    """What is the caller's fault has a code and is no error; the model server's part is in the same trace."""
    trace = f"{0xDEF:032x}"
    status, _ = post(traced, "/v2/models/nope/infer", DIGIT, traceparent=f"00-{trace}-{PARENT}-01")
    assert status == 404
    spans = by_name(collector.of(trace, 3))
    for name in ("gateway", "model-server"):
        said = {item.key: item.value.string_value for item in spans[name].attributes}
        assert said["error.type"] == "NOT_FOUND"
        assert spans[name].status.code != ERROR


@pytest.mark.parametrize(
    "parent",
    [None, f"00-{TRACE}-{PARENT}-00", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{'0' * 32}-{PARENT}-01",
     f"00-{TRACE}-{PARENT}-01-more", f"00-{TRACE.upper()}-{PARENT}-01", "nonsense"],
)  # fmt: skip
def test_what_is_not_sampled_makes_no_span(collector, traced, parent):
    """The caller's flag decides, and a traceparent that is none counts as missing (Trace Context 3.2.2)."""
    before = len(collector.spans)
    headers = {} if parent is None else {"traceparent": parent}
    assert post(traced, "/v2/models/digits/infer", DIGIT, **headers)[0] == 200
    time.sleep(0.3)
    assert len(collector.spans) == before


class Kept:
    def __init__(self) -> None:
        self.spans = []

    def add(self, span) -> None:
        self.spans.append(span)

    def close(self) -> None:
        pass


def test_a_share_of_the_others_begins_a_trace():
    """Without a traceparent the share decides, and each has an id of its own."""
    assert [tracing.Tracer(Kept(), 0.0).sampled({}) for _ in range(50)] == [None] * 50
    begun = [tracing.Tracer(Kept(), 1.0).sampled({"tracestate": "a=b"}) for _ in range(50)]
    assert len({trace.trace_id for trace in begun}) == 50
    assert {(trace.parent_id, trace.state) for trace in begun} == {(0, "")}


def test_without_the_packages_one_sentence(monkeypatch):
    """A setting that needs the extra says so."""
    monkeypatch.setitem(sys.modules, "crossover.service.otlp", None)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "crossover.service.otlp")
    for name in [name for name in sys.modules if name.startswith("opentelemetry.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match=r"needs 'opentelemetry.*pip install 'crossover\[otel\]'"):
        tracing.tracer_of(ServiceSettings(otel_exporter_otlp_endpoint="http://127.0.0.1:4318"), "x")


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_another_protocol_is_refused(monkeypatch, name):
    """OpenTelemetry's variables may ask for gRPC or JSON, which is not spoken here: the service does not start."""
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(ValueError, match=f"{name} is 'grpc'; spans go out by http/protobuf alone"):
        tracing.tracer_of(ServiceSettings(otel_exporter_otlp_endpoint="http://127.0.0.1:4317"), "x")


def test_off_imports_nothing(root):
    """Without the endpoint neither service loads OpenTelemetry's SDK (its API comes with FastAPI)."""
    program = (
        "import sys; import crossover.rest_gateway.__main__, crossover.model_server.__main__;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
