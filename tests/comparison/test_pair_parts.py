"""The parts of a pair that need no service: templates, rows, schemas, rules of sameness, addresses, options."""

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import descriptor_pb2

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import CALL, GREETER, NAME, ROOT, asked

from crossover.comparison.load.sockets import Address
from crossover.comparison.pair import exchange, options, same, schema, sides, template
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.same import GrpcAnswer, RestAnswer

PROTO = """
syntax = "proto3";
package t.v1;
import "google/protobuf/timestamp.proto";
service S { rpc M (Q) returns (R); rpc Out (Q) returns (stream R); rpc In (stream Q) returns (R); }
message Q { string name = 1; bytes data = 2; repeated Q inner = 3; int64 big_number = 4; map<string, int32> counts = 5; }
enum Colour { GREY = 0; RED = 1; }
message R { string first_name = 1; int64 big_number = 2; double share = 3; repeated R items = 4; Colour colour = 5;
            google.protobuf.Timestamp at = 6; bytes data = 7; bool ok = 8; float half = 9; }
"""


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proto")
    (folder / "t.proto").write_text(PROTO)
    return schema.Method(schema.from_proto(["t.proto"], [str(folder)], "t.v1.S/M"))


@pytest.mark.parametrize(
    ("text", "row", "json_text"),
    [
        ('{"n": "{{name}}"}', {"name": 'a"b\\c\n'}, '{"n": "a\\"b\\\\c\\n"}'),
        ('{"n": {{ n }}}', {"n": 3}, '{"n": 3}'),
        ('{"n": {{n}}}', {"n": [1, {"a": None}]}, '{"n": [1, {"a": null}]}'),
        ('{"n": {{n}}}', {"n": True}, '{"n": true}'),
        ('{"n": "{{a.b}}"}', {"a": {"b": "x"}}, '{"n": "x"}'),
        ('{"n": "{{a.b}}"}', {"a.b": "whole"}, '{"n": "whole"}'),
        ('{"n": "{{name}}-{{name}}"}', {"name": "é"}, '{"n": "é-é"}'),
        ('{"n": "{{name}}"}', {"name": "{{other}}"}, '{"n": "{{other}}"}'),
    ],
)
def test_a_template_takes_strings_escaped_and_anything_else_as_json(text, row, json_text):
    """What a row holds can neither end a JSON string nor be a template itself."""
    assert template.in_json(text, row, "--grpc-data") == json_text
    json.loads(json_text)


def test_a_template_in_a_url_is_percent_encoded():
    """A row's text stays one segment of the path."""
    assert template.in_url("/v1/{{name}}?q={{n}}", {"name": "a/b c?&", "n": 7}, "--rest") == "/v1/a%2Fb%20c%3F%26?q=7"


def test_a_template_takes_a_files_bytes_as_base64(tmp_path):
    """{{@FILE}} is what a JSON string of bytes has."""
    (tmp_path / "x.bin").write_bytes(b"\0\1\2")
    assert template.in_json(f'"{{{{@{tmp_path}/x.bin}}}}"', {}, "--rest-data") == '"AAEC"'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2 of"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "is not JSON"),
        ("a.jsonl", "", "holds no row"),
        ("a.csv", "a,b\n1,2\n3\n", "not as many values"),
        ("a.csv", "a,b\n1,2,3\n", "not as many values"),
        ("a.csv", "a,b\n", "holds no row"),
        ("a.jsonl", b"\xff\xfe{", "is not UTF-8"),
    ],
)
def test_rows_that_cannot_be_read_are_one_sentence(tmp_path, name, content, said):
    """The line that is wrong is named."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PairError, match=said):
        template.rows(path)


def test_rows_come_from_json_lines_and_csv(tmp_path):
    """Both forms give the same rows, in their order; CSV has only texts."""
    (tmp_path / "a.jsonl").write_text('\ufeff{"a": "1", "b": "x, y"}\n\n{"a": "2", "b": ""}\n')
    (tmp_path / "a.csv").write_text('a,b\n1,"x, y"\n2,\n')
    assert template.rows(tmp_path / "a.jsonl") == template.rows(tmp_path / "a.csv")


def test_headers_take_the_environment_and_refuse_what_would_break_a_request(monkeypatch):
    """${ENV} is replaced; a name that is none, a control character and the generator's own headers are refused."""
    monkeypatch.setenv("TOKEN", "secret")
    assert sides.headers(["Authorization: Bearer ${TOKEN}"], "-H", frozenset()) == (("authorization", "Bearer secret"),)
    monkeypatch.setenv("TOKEN", "a\r\nx: y")
    for given in ("Authorization: ${TOKEN}", "no colon", "bad name: x", "x: ${NOT_THERE}", "content-length: 3"):
        with pytest.raises(PairError):
            sides.headers([given], "-H", frozenset({"content-length"}))


@pytest.mark.parametrize(
    ("target", "shown", "tls"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("[::1]:50051", "[::1]:50051", False),
        ("ipv6:[::1]:5", "[::1]:5", False),
        ("dns:///host.name:443", "host.name:443", False),
        ("grpcs://host:443", "host:443", True),
        ("https://host:443/", "host:443", True),
        ("grpc://host:1", "host:1", False),
        ("unix:/run/x.sock", "unix:/run/x.sock", False),
        ("unix:///run/x.sock", "unix:/run/x.sock", False),
    ],
)
def test_targets_of_grpc(target, shown, tls):
    """The forms that gRPC's own clients take."""
    side = sides.grpc_side(target, [], None, 1.0, None)
    assert (str(side.address), side.address.tls is not None) == (shown, tls)


@pytest.mark.parametrize(
    "target", ["", "host", "host:", "host:0", "host:99999", "::1:5", "ftp://host:1", "unix:", "a b:1"]
)
def test_targets_that_are_none_are_one_sentence(target):
    """No traceback, and the sentence says which flag."""
    with pytest.raises(PairError, match="--grpc"):
        sides.grpc_side(target, [], None, 1.0, None)


@pytest.mark.parametrize(
    ("given", "method", "address", "target", "host"),
    [
        ("POST http://127.0.0.1:8000/v1/x?a=1", "POST", "127.0.0.1:8000", "/v1/x?a=1", "127.0.0.1:8000"),
        ("http://h:1", "POST", "h:1", "/", "h:1"),
        ("get https://h/x", "GET", "h:443", "/x", "h"),
        ("PUT http://[::1]:80/y", "PUT", "[::1]:80", "/y", "[::1]:80"),
        ("POST unix:/run/a.sock:/v1/x", "POST", "unix:/run/a.sock", "/v1/x", "localhost"),
        ("POST http://unix:/run/a.sock:/v1/x", "POST", "unix:/run/a.sock", "/v1/x", "localhost"),
        ("POST http+unix://%2Frun%2Fa.sock/v1/x", "POST", "unix:/run/a.sock", "/v1/x", "localhost"),
    ],
)
def test_requests_of_http(given, method, address, target, host):
    """METHOD URL, with the forms of Unix sockets that curl, nginx and Docker users know."""
    side = sides.rest_side(given, [], None, 1.0, has_body=True)
    assert (side.method, str(side.address), side.target, side.host) == (method, address, target, host)


@pytest.mark.parametrize(
    "given", ["", "POST", "SHOUT http://h/", "POST ftp://h/", "POST http:///x", "POST http://h:x/"]
)
def test_requests_that_are_none_are_one_sentence(given):
    """Likewise."""
    with pytest.raises(PairError, match="--rest"):
        sides.rest_side(given, [], None, 1.0, has_body=False)


def test_a_request_is_read_from_proto3_json(method, tmp_path):
    """Either spelling, int64 as text or number, bytes as base64 or from a file, in nested messages too."""
    (tmp_path / "photo").write_bytes(b"\xff\0")
    text = json.dumps(
        {"bigNumber": "7", "inner": [{"data": f"@{tmp_path}/photo"}], "data": base64.b64encode(b"hi").decode()}
    )
    message = method.request(text, "--grpc-data")
    assert (message.big_number, message.inner[0].data, message.data) == (7, b"\xff\0", b"hi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"), ("[1]", "is no t.v1.Q"), ('{"nope": 1}', 'no field named "nope"'), ('{"name": 3}', "name"),
        ('{"data": "@/nowhere"}', "cannot be read"), ('"x"', "is no t.v1.Q"), ("3", "is no t.v1.Q"),
        ("[" * 200_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_is_one_sentence(method, text, said):
    """What of it does not fit is named."""
    with pytest.raises(PairError, match=said) as caught:
        method.request(text, "--grpc-data")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("t.v1.S/Nope", "it has M, Out, In"), ("t.v1.Nope/M", "no service 't.v1.Nope'"), ("M", "pkg.Service/Method"),
        ("t.v1.S/In", "takes a stream"), ("", "pkg.Service/Method"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_compared_is_one_sentence(tmp_path, call, said):
    """Unknown services and methods name what there is; streams of requests are refused."""
    (tmp_path / "t.proto").write_text(PROTO)
    with pytest.raises(PairError, match=said):
        schema.from_proto(["t.proto"], [str(tmp_path)], call)


def test_a_proto_that_protoc_refuses_is_one_sentence(tmp_path):
    """Protoc's own first complaint is passed on; a file that is missing is named."""
    (tmp_path / "bad.proto").write_text('syntax = "proto3"; message {')
    with pytest.raises(PairError, match="protoc refuses"):
        schema.from_proto([str(tmp_path / "bad.proto")], [], "a.B/C")
    with pytest.raises(PairError, match="cannot be read"):
        schema.from_proto([str(tmp_path / "none.proto")], [], "a.B/C")


def test_a_protoset_without_what_it_imports_is_one_sentence(tmp_path):
    """A set that protoc wrote without --include_imports lacks files; well-known types are here anyway."""
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto3", dependency=["gone.proto"])
    (tmp_path / "set").write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    with pytest.raises(PairError, match=r"lacks the file 'gone\.proto'"):
        schema.from_protoset([str(tmp_path / "set")], "a.B/C")
    (tmp_path / "junk").write_bytes(b"\xff\xff\xff")
    with pytest.raises(PairError, match="no FileDescriptorSet"):
        schema.from_protoset([str(tmp_path / "junk")], "a.B/C")


def _differences(method, reply, body, rules=(), tolerance=0.0):
    message = method.parsed_reply(reply).SerializeToString()
    return same.parsed(rules, tolerance).differences(
        method,
        GrpcAnswer("OK", "", message),
        RestAnswer(200, body if isinstance(body, bytes) else json.dumps(body).encode()),
    )


REPLY = {
    "firstName": "Ada",
    "bigNumber": "9007199254740993",
    "share": 0.1,
    "items": [{"firstName": "x"}],
    "colour": "RED",
}


@pytest.mark.parametrize(
    "body",
    [
        REPLY,
        {
            "first_name": "Ada",
            "big_number": 9007199254740993,
            "share": 0.1,
            "items": [{"first_name": "x"}],
            "colour": 1,
        },
        {**REPLY, "ok": False, "data": ""},
    ],
)
def test_whole_replies_are_the_same_in_any_spelling_of_proto3_json(method, body):
    """Field names in either spelling, int64 as text or number, enums by name or number, defaults said or not."""
    assert _differences(method, REPLY, body) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**REPLY, "bigNumber": "9007199254740992"}, "9007199254740992"),
        ({**REPLY, "firstName": "ada"}, "firstName"),
        ({**REPLY, "items": []}, "items"),
        ({**REPLY, "extra": 1}, "extra"),
        ({key: value for key, value in REPLY.items() if key != "share"}, "share"),
        ([REPLY], "is no t.v1.R"),
        ({**REPLY, "ok": True}, "ok"),
        (b"<html>", "is not JSON"),
        (b"", "firstName"),
    ],
)
def test_whole_replies_that_differ_say_where(method, body, said):
    """A large integer is not compared as a float; what is missing, more or other is named."""
    (first, *_) = _differences(method, REPLY, body)
    assert said in first


def test_numbers_may_differ_by_the_tolerance(method):
    """Of their size or absolutely, wherever they stand, and no further."""
    assert _differences(method, REPLY, {**REPLY, "share": 0.1000001}, tolerance=1e-5) == []
    assert _differences(method, REPLY, {**REPLY, "share": 0.11}, tolerance=1e-5)
    assert _differences(method, REPLY, {**REPLY, "firstName": "Adb"}, tolerance=1.0)


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("grpc.firstName == rest.name", True), ("grpc.first_name == rest.name", True), ("grpc.items[0].firstName == rest.list[0]", True),
        ("grpc.items.0.first_name == rest.list.0", True), ("grpc.items[*].first_name == rest.list", True),
        ("grpc.big_number == rest.n", True), ("grpc.ok == false", True), ('grpc.colour == "RED"', True),
        ("rest.name == grpc.first_name and grpc.share == 0.1", True), ("grpc.first_name == rest.n", False),
        ("grpc.first_name == rest.nowhere", False), ("grpc.items[3] == rest.name", False), ("grpc.ok == 0", False),
    ],
)  # fmt: skip
def test_rules_of_dotted_paths(method, rule, holds):
    """Either spelling, into lists, against a JSON value; a path that is missing is a difference."""
    body = {"name": "Ada", "n": 9007199254740993, "list": ["x"], "id": "changes every time"}
    assert (_differences(method, REPLY, body, [rule]) == []) is holds


@pytest.mark.parametrize(
    "rule",
    ["grpc.a = rest.a", "grpc.a", "", "1 == 2", "grpc.a == rest.a == 3", "a.b == rest.c", "oip and grpc.a == 1"],
)
def test_rules_that_are_none_are_one_sentence(rule):
    """The sentence quotes the rule and shows one that is right."""
    with pytest.raises(PairError, match="--same"):
        same.parsed([rule], 0.0)


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), -1.0])
def test_a_tolerance_is_a_number_from_zero_on(tolerance):
    """nan would let everything pass, or nothing."""
    with pytest.raises(PairError, match="--tolerance"):
        same.parsed([], tolerance)


_LAB = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from crossover.comparison.pair.services import Started
Started("gRPC", "(sleep 600 & echo $! ; wait) & wait", Path(sys.argv[1]))
time.sleep(600)
"""


def test_what_a_start_command_started_ends_with_a_lab_that_is_killed(tmp_path):
    """SIGKILL of the lab: the children of the command's shell, which no signal of the kernel reaches, end too."""
    log = tmp_path / "log"
    lab = subprocess.Popen([sys.executable, "-c", _LAB, str(log)], cwd=ROOT)
    until = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < until
        time.sleep(0.01)
    lab.kill()
    lab.wait()
    child = Path("/proc", log.read_text().strip(), "cmdline")
    while child.exists() and child.read_bytes():  # empty once it is a zombie
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--arms", "grpc"), "--arms grpc leaves nothing to compare; name two that are compared: grpc rest, "),
        (("--arms", "grpc", "rest-client"), "leaves nothing to compare"),
        (("--fail-if", "any ratio > 2 where metric = cpu"), "give --pid-grpc and --pid-rest, or --start-grpc"),
        (("--fail-if", "metric = cpu"), "needs the services' CPU"),
    ],
)
def test_what_the_run_could_not_say_is_refused_before_a_service_is_asked(tmp_path, flags, said):
    """Arms of which no two are compared, and rules on a CPU that nobody can count: one sentence, nothing is sent."""
    done = asked(
        "--grpc", "127.0.0.1:1", "--call", CALL, "--grpc-data", NAME, "--rest", "POST http://127.0.0.1:1/v1/hello",
        "--rest-data", NAME, "--proto", GREETER / "greeter.proto", "--import-path", GREETER, "--data",
        GREETER / "rows.jsonl", "--out", tmp_path / "run", *flags,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rows_hold_whatever_text_their_format_allows(tmp_path):
    """Ends of lines within a quoted value of CSV, and separators of Unicode within a JSON text, end no row."""
    quoted = tmp_path / "rows.csv"
    quoted.write_bytes('name,note\r\n"Ada\nLovelace","say ""hi"", twice"\r\nÀé,\u2028\r\n'.encode())
    assert template.rows(quoted) == [
        {"name": "Ada\nLovelace", "note": 'say "hi", twice'},
        {"name": "Àé", "note": "\u2028"},
    ]
    lines = tmp_path / "rows.jsonl"
    lines.write_text('{"name": "a\u2028b\x85c"}\r\n\n{"name": "d"}', "utf-8")
    assert template.rows(lines) == [{"name": "a\u2028b\x85c"}, {"name": "d"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"name,name\na,b\n", "the name 'name' twice"),
        ("rows.csv", b'name\n"a"b\n', "line 2"),
        ("rows.csv", b'name\n"a\n', "is not CSV"),
        ("rows.csv", b"name\n" + b"a" * 200_000 + b"\n", "is not CSV: field larger"),
        ("rows.jsonl", b"[" * 200_000, "is nested too deeply"),
    ],
)
def test_rows_of_odd_files_are_one_sentence(tmp_path, name, content, said):
    """What csv and json raise is told with the file and its line."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PairError, match=said):
        template.rows(tmp_path / name)


def _given_in(tmp_path, text):
    """What `pair FILE --dry-run` says of a file."""
    path = tmp_path / "pair.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return asked(path, "--dry-run")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grpc:", "'grpc' in"),
        ("call: 2030-01-01", "write a date in quotes"),
        ("call: 2030-13-01", "is not YAML"),
        ("grpc-data: {when: 2030-01-01}", "write a date in quotes"),
        ("call: !!binary aGk=", "holds what JSON has not"),
        ("blocks: [1, 2]", "'blocks' in"),
        ("rate: []", "'rate' in"),
        ("cases: [{data: [a, b]}]", "'data' of case 1"),
        ("cases: [{grpc-data: {when: 2030-01-01}}]", "write a date in quotes"),
        ("[" * 5000, "nested too deeply"),
        (b"grpc: \xff", "is not UTF-8 text"),
        ("stream: 'yes'", "is true or false"),
        ("nothing: 1", "is no setting"),
    ],
)
def test_a_file_with_values_of_other_types_is_one_sentence(tmp_path, text, said):
    """No value of YAML comes out as a traceback, and of two values for one setting none is chosen silently."""
    done = _given_in(tmp_path, text)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_no_text_is_sent_as_it_is(tmp_path):
    """`{{` among the bytes of a picture is no place for a value."""
    picture = tmp_path / "picture"
    picture.write_bytes(b"\x89PNG {{name}} \xff")
    given = SimpleNamespace(grpc_data=None, rest_data=f"@{picture}", data=None)
    (case,) = options.cases_of(options.Asked(given), "/")
    assert case.rest_data == picture.read_bytes()
    picture.write_bytes(b"Hello {{name}}")
    (case,) = options.cases_of(options.Asked(given), "/")
    assert case.rest_data == "Hello {{name}}"


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "alike"),
    [
        (10**400, 1.5, 0.1, False),
        (10**400, 10**400, 0.1, True),
        ("9" * 5000, 9, 0.0, False),
        ("1_0", 10, 0.0, False),
        (" 10", 10, 0.0, False),
        ("10", 10, 0.0, True),
        ("-1.5e3", -1500, 0.0, True),
        ("Infinity", float("inf"), 0.0, True),
        ("NaN", float("nan"), 0.0, True),
        ("infinity", float("inf"), 0.0, False),
        ("\u0661", 1, 0.0, False),
    ],
)
def test_numbers_in_text_are_those_of_json(one, other, tolerance, alike):
    """Not those of Python; and integers beyond every double are compared too."""
    assert same._alike(one, other, tolerance) is alike


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\x1f\x8b\x08\x00", "compressed (gzip)"),
        (b"[" * 200_000, "the body is not JSON"),
        (b"\x1b[31m\nred", "the body is not JSON: ?[31m red"),
        (b"null", "it is null"),
        (b"3", "it is 3"),
        (b"[1]", "it is [1]"),
    ],
)
def test_a_body_that_is_no_reply_is_one_readable_line(method, body, said):
    """Whatever it holds, and without a word of Python's own."""
    (found,) = same.Same().differences(method, GrpcAnswer("OK", "", b""), RestAnswer(200, body))
    assert said in found
    assert found.isprintable()
    assert "object" not in found


def test_a_grpc_reply_that_ends_within_a_message_is_none():
    """A message that is shorter than its prefix says may still be read as one, with other values."""
    reply = SimpleNamespace(fields={"grpc-status": "0"}, body=b"\0\0\0\0\4ab")
    with pytest.raises(OSError, match="ends within a message"):
        sides.grpc_reply(reply)
    assert sides.grpc_reply(SimpleNamespace(fields={"grpc-status": "\xb2"}, body=b"")).code == "code \xb2"


@pytest.mark.parametrize("arm", ["grpc", "rest"])
@pytest.mark.parametrize("body", [b"<html>", b"{", b"[" * 200_000, b"\0\0\0\0\1\xff", b"\0\0\0\0\x09\xff"])
def test_a_reply_that_a_client_cannot_decode_ends_no_slice(method, arm, body):
    """The arms that decode within each call meet errors too; what is wrong with a reply its outcome says."""
    side = sides.GrpcSide(Address("there", 1), "there") if arm == "grpc" else None
    rules = exchange.Rules(method.schema, same.Same(), "OK", None)
    work = exchange.Exchange(arm, side, None, [b""], [b""], [], rules, None, 1, coded=True)
    talk = work.talk()
    talk.arrived(SimpleNamespace(body=body))
    assert talk.spent_ns >= 0
    assert not talk.complaint
