"""`pair twin`: what it asks of a service, the contract that it writes, and what it says of a switch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf import json_format
from grpc_tools import protoc
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import CALL, GREETER, NAME, Http, asked, free_port, pair, started

from crossover.comparison.options import UsageError
from crossover.comparison.pair import schema
from crossover.comparison.pair.twin import replay_node
from crossover.comparison.pair.twin.command import concluded
from crossover.comparison.pair.twin.recording import as_message
from crossover.comparison.pair.twin.shapes import Contract, Shape

INCLUDED = Path(grpc_tools.__file__).with_name("_proto")
ROWS = ("--data", GREETER / "rows.jsonl")


def method_for(documents, tmp_path, openapi=None):
    """The method whose reply is what the documents look like."""
    shape = Shape()
    for document in documents:
        shape.see(document)
    if openapi is not None:
        shape.see_schema(*openapi)
    contract = Contract("twin.v1", "Twin", "Call")
    path = tmp_path / "twin.proto"
    path.write_text(contract.text(Shape({"object"}), shape))
    arguments = ["protoc", f"-I{tmp_path}", f"-I{INCLUDED}", "--include_imports", f"-o{tmp_path}/set", str(path)]
    assert protoc.main(arguments) == 0, path.read_text()
    return schema.Method(schema.from_protoset([str(tmp_path / "set")], contract.call)), path.read_text()


def through(method, document):
    """The document as it comes back from the wire."""
    return method.as_json(method.decoded(method.parsed_reply(document).SerializeToString()))


KEYS = st.sampled_from(["a", "aB", "a_b", "class", "message", "x-y", "field", "1", "", "[q]", "Ünïcode", "a b"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(KEYS.filter(lambda key: key not in {"", "[q]"}), JSON)


@settings(max_examples=25)
@given(st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_whatever_json_was_seen_its_contract_compiles_and_takes_it(tmp_path_factory, documents):
    """protoc accepts the contract, and every document that it was written from parses as its type."""
    method, _ = method_for(documents, tmp_path_factory.mktemp("proto"))
    for document in documents:
        assert method.parsed_reply(document) == method.parsed_reply(through(method, document))


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        ([{"n": 1}], "int64 n = 1"),
        ([{"n": 1}, {"n": 1.5}], "double n = 1"),
        ([{"n": 2**63}], "uint64 n = 1"),
        ([{"n": 2**70}], "double n = 1"),
        ([{"n": 1}, {}], "optional int64 n = 1"),
        ([{"n": "a"}, {"n": None}], "optional string n = 1"),
        ([{"n": "a"}, {"n": 1}], "google.protobuf.Value n = 1"),
        ([{"n": [1, 2.5]}], "repeated double n = 1"),
        ([{"n": [[1], [2]]}], "repeated google.protobuf.Value n = 1"),
        ([{"n": ["a", None]}], "repeated google.protobuf.Value n = 1"),
        ([{"n": {"2026-11-27": 1}}], "map<string, int64> n = 1"),
        ([{"n": {"deep": True}}], "CallReplyN n = 1"),
        ([{"first_name": ""}], 'string first_name = 1 [json_name = "first_name"]'),
        ([{"firstName": ""}], "string first_name = 1;"),
    ],
)
def test_json_has_the_type_that_carries_it(documents, field, tmp_path):
    """Numbers, presence, mixed kinds, lists, maps and names in either spelling."""
    method, text = method_for(documents, tmp_path)
    assert field in text
    for document in documents:
        json_format.ParseDict(document, method.reply_type())


def test_openapi_says_what_the_recording_did_not_hold(tmp_path):
    """Fields that no reply had, a number that happened to be whole, by $ref and allOf."""
    document = {"components": {"schemas": {
        "Base": {"type": "object", "properties": {"price": {"type": "number"}}},
        "Item": {"allOf": [{"$ref": "#/components/schemas/Base"},
                           {"properties": {"note": {"type": "string", "nullable": True}}}]},
    }}}  # fmt: skip
    _, text = method_for([{"price": 3}], tmp_path, ({"$ref": "#/components/schemas/Item"}, document))
    assert "optional double price = 1" in text
    assert "optional string note = 2" in text


def test_a_document_that_is_no_object_is_a_message_with_one_field():
    """Lists and texts at the top are carried in `body`."""
    assert as_message([1]) == {"body": [1]}
    assert as_message({"a": 1}) == {"a": 1}


@pytest.fixture(scope="module")
def rest():
    listen = f"127.0.0.1:{free_port()}"
    with started("greeter_rest.py", listen):
        yield listen


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rest", "POST http://127.0.0.1:9/v1"), "say --allow-unsafe"),
        (("--rest", "http://127.0.0.1:9/v1", "--grpc", "127.0.0.1:9"), "needs one service"),
        ((), "needs one service"),
        (("--grpc", "127.0.0.1:9"), "needs --call"),
        (("--rest", "http://127.0.0.1:9/{{name}}"), "give --data"),
        (("--rest", "http://127.0.0.1:9/v1", "--start-rest", "true"), "--start-rest does not go with pair twin"),
        (("--rest", "http://127.0.0.1:9/v1"), "does not answer"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_sentence(flags, said, tmp_path):
    """Exit code 2 before anything is started."""
    done = asked("twin", *flags, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unsafe_call_is_made_once_for_each_row_and_only_when_allowed(tmp_path):
    """A POST of three rows reaches the service never without the flag, three times with it."""
    heard = []

    def answer(number, request):
        heard.append(request)
        return b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"ok": 1}'

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"n": 1}\n{"n": 2}\n{"n": 3}\n')
    with Http(answer) as server:
        flags = ("twin", "--rest", f"POST http://127.0.0.1:{server.port}/v1/do", "--data", rows, "--dry-run")
        assert asked(*flags, "--out", tmp_path / "no").returncode == 2
        assert heard == []
        done = asked(*flags, "--out", tmp_path / "yes", "--allow-unsafe")
    assert done.returncode == 0, done.stderr
    assert len(heard) == 3
    assert "rpc Do(DoRequest)" in (tmp_path / "yes" / "twin" / "twin.proto").read_text()
    assert "The answers are the same (3 rows" in done.stdout


def test_a_list_at_the_top_is_replayed_over_both_wires(tmp_path):
    """A reply that is no object is compared as what it is."""
    body = b'[{"id": 1}, {"id": 2}]'
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    with Http(lambda number, request: head + body) as server:
        done = asked(
            "twin", "--rest", f"GET http://127.0.0.1:{server.port}/items?all=1", "--out", tmp_path, "--dry-run"
        )
    assert done.returncode == 0, done.stderr
    assert "The answers are the same" in done.stdout


@pytest.mark.slow
def test_a_rest_service_is_measured_beside_its_grpc_twin(rest, tmp_path):
    """Recorded, replayed, measured; what a switch moves, what cannot be known, all kept in twin.json."""
    done = pair(
        "twin", "--rest", f"http://{rest}/v1/hello/{{{{name}}}}", *ROWS, "--out", tmp_path, "--blocks", "2", "--turns", "2",
        "--slice", "0.1", "--rate", "30", "--connections", "4",
    )  # fmt: skip
    assert done.returncode in {0, 4}, done.stderr
    assert "A switch to gRPC would move today's median" in done.stdout
    assert "What a twin cannot know" in done.stdout
    kept = json.loads((tmp_path / "twin.json").read_text())
    assert kept["today"] == "rest"
    assert kept["today_ms"] > 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    assert summary["model"] == "twin.v1.Twin/Hello"


@pytest.mark.slow
def test_a_grpc_service_gets_routes(tmp_path):
    """The method becomes a POST with an OpenAPI document, and both answer alike."""
    listen = f"127.0.0.1:{free_port()}"
    with started("greeter_grpc.py", listen):
        flags = ("twin", "--grpc", listen, "--call", CALL, "--grpc-data", NAME, *ROWS, "--dry-run", "--out", tmp_path)
        refused = asked(*flags)
        assert "NO_SIDE_EFFECTS" in refused.stderr
        done = pair(*flags, "--allow-unsafe")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "twin" / "openapi.json").read_text())
    assert "post" in document["paths"]["/greeter.v1.Greeter/SayHello"]
    assert "lettersInName" in document["components"]["schemas"]["HelloReply"]["properties"]


def test_node_without_its_packages_is_refused_with_the_command_that_installs_them(tmp_path, monkeypatch):
    """Nothing is installed by itself."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(replay_node, "HERE", tmp_path)
    with pytest.raises(UsageError, match=f"npm ci --prefix {tmp_path}"):
        replay_node.check()


@pytest.fixture(scope="module")
def node_packages():
    installed = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(replay_node.HERE)],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=400, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr


@pytest.mark.slow  # npm installs the servers' packages
@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is missing; on Debian: apt-get install nodejs npm")
@pytest.mark.usefixtures("node_packages")
@pytest.mark.parametrize(
    "reply",
    [
        {"id": 7, "tags": ["a"], "deep": {"x": 1.5, "none": None}, "any": [1, "a", None], "by_day": {"2026-11-27": 1}, "on": True},
        [{"id": 1}, {"id": 2}],
    ],
)  # fmt: skip
def test_node_replays_what_was_recorded(reply, tmp_path):
    """grpc-js and Fastify answer as the recorded service did, whatever its JSON looked like."""
    body = json.dumps(reply).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    with Http(lambda number, request: head + body) as server:
        url = f"GET http://127.0.0.1:{server.port}/v1/items:all/{{{{name}}}}?all=1"
        done = asked("twin", "--rest", url, *ROWS, "--language", "node", "--out", tmp_path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "The answers are the same (4 rows" in done.stdout


@pytest.mark.parametrize(("side", "moved"), [("rest", [-0.6, -0.5, -0.4]), ("grpc", [0.4, 0.5, 0.6])])
def test_what_a_switch_moves_has_the_sign_of_the_switch(side, moved):
    """gRPC less REST for who has REST today, and the other way round; nothing where a control withholds it."""
    cell = {"pair": ["grpc-client", "rest-client"], "metric": "p50", "ratio": 0.5, "difference": [-0.6, -0.5, -0.4],
            "withheld": None}  # fmt: skip
    found = concluded({"cells": [cell]}, 2.0, side)
    assert found["moved_ms"] == moved
    assert found["moved_cpu_us"] is None
    assert "an amount that this run cannot say" in found["sentences"][1]
    assert concluded({"cells": [{**cell, "withheld": "a control"}]}, 2.0, side)["moved_ms"] is None
