"""Settings: one declaration gives the flag, the variable, the line of --help and the row of docs/settings.md."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crossover.model_server.settings import ModelServerSettings
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service.settings import environment, flag, load
from crossover.service.settings_flags import markdown
from crossover.stack.settings import PORTS, StackSettings
from tests.service.conftest import refused

NAMES = list(StackSettings.fields)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_variable_sets_it_and_a_flag_beats_the_variable(monkeypatch):
    """Flags beat variables, which beat defaults; an empty variable is no variable."""
    assert load(GatewaySettings, "program", []).gateway_port == 8080
    monkeypatch.setenv("GATEWAY_PORT", "")
    assert load(GatewaySettings, "program", []).gateway_port == 8080
    monkeypatch.setenv("GATEWAY_PORT", "9000")
    assert load(GatewaySettings, "program", []).gateway_port == 9000
    assert load(GatewaySettings, "program", ["--gateway-port", "9001"]).gateway_port == 9001


@pytest.mark.parametrize(("given", "means"), [("1", True), ("true", True), ("ON", True), ("0", False), ("no", False)])
def test_switches(monkeypatch, given, means):
    """A switch takes 1 and 0, as the Makefile writes them, and their usual synonyms; a flag alone means 1."""
    monkeypatch.setenv("GATEWAY_TIMING", given)
    assert load(GatewaySettings, "program", []).gateway_timing is means
    assert load(GatewaySettings, "program", ["--gateway-timing"]).gateway_timing is True


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("GATEWAY_PORT", "abc", "GATEWAY_PORT is 'abc'; it takes an integer from 0 to 65535"),
        ("GATEWAY_PORT", "99999", "GATEWAY_PORT is '99999'; it takes an integer from 0 to 65535"),
        ("GATEWAY_TIMING", "maybe", "GATEWAY_TIMING is 'maybe'; it takes 1 or 0"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is 'loud'; it takes debug, info, warning or error"),
        ("MODEL_POLL_SECONDS", "0", "MODEL_POLL_SECONDS is '0'; it takes a number from 0.01 to 86400"),
        ("UPSTREAM_CONNECTIONS", "0", "UPSTREAM_CONNECTIONS is '0'; it takes an integer from 1 to 100000"),
        ("GATEWAY_GRPC_TARGET", "::::", "GATEWAY_GRPC_TARGET is '::::'; it takes host:port"),
        ("GATEWAY_REST_TARGET", "foo", "GATEWAY_REST_TARGET is 'foo'; it takes a URL such as http://10.0.0.7:8000"),
        ("GATEWAY_GRPC_TARGET", "a:1,b", "GATEWAY_GRPC_TARGET is 'a:1,b'; it takes host:port"),
        (
            "GATEWAY_GRPC_TARGET",
            "@/nowhere",
            "GATEWAY_GRPC_TARGET is '@/nowhere'; the file /nowhere cannot be read: no such",
        ),
        (
            "GATEWAY_REST_TARGET",
            "http://a:1,",
            "GATEWAY_REST_TARGET is 'http://a:1,'; there is an empty address between",
        ),
        (
            "UPSTREAM_BALANCING",
            "fair",
            "UPSTREAM_BALANCING is 'fair'; it takes round_robin, least_request or pick_first",
        ),
        ("UPSTREAM_TLS_CA", "/nowhere", "UPSTREAM_TLS_CA is '/nowhere'; there is no such file"),
        (
            "GATEWAY_UPSTREAM",
            "soap",
            "GATEWAY_UPSTREAM is 'soap'; it takes one of grpc, grpc-typed, grpc-lean, grpc-stream, rest",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence(capsys, monkeypatch, name, value, sentence):
    """The sentence names the setting as the user spelled it, the value, and what would be right; exit code 2."""
    monkeypatch.setenv(name, value)
    assert refused(capsys, GatewaySettings).startswith(sentence)
    monkeypatch.delenv(name)
    by_flag = refused(capsys, GatewaySettings, flag(name.lower()), value)
    assert by_flag.startswith(sentence.replace(name, flag(name.lower())))


NEVER = {
    "number": ("-1", "nan", "inf", "1e99", "9" * 30, " ", "\u0665", "1\u200b", "many"),
    "text": (" ", "a\u200bb", "a\nb"),
    "path": (" ", "a\nb"),
}
"""What no setting of a kind takes: below or above every bound, not finite, blank, digits of other scripts, not to be seen."""
WAYS = ("flag", "file", "variable")


def _kind_of(name):
    annotation = StackSettings.fields[name].kind
    if annotation in (int, float):
        return "number"
    return "path" if annotation in (Path, Path | None) else "text"


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_takes_nonsense(capsys, monkeypatch, tmp_path, name):
    """By flag, file and variable: one sentence that names the setting."""
    file = tmp_path / "settings.toml"
    first, *others = NEVER[_kind_of(name)]
    for way, value in [*itertools.product(WAYS, [first]), *itertools.product(["variable"], others)]:
        arguments = []
        if way == "flag":
            arguments = [f"{flag(name)}={value}"]
        elif way == "variable":
            monkeypatch.setenv(name.upper(), value)
        else:
            file.write_text(f"{name} = {json.dumps(value)}")
            arguments = ["--config", str(file)]
        said = refused(capsys, StackSettings, *arguments)
        assert said.startswith({"flag": flag(name), "variable": name.upper(), "file": name}[way]), (way, value)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("name", [name for name in NAMES if _kind_of(name) == "number"])
def test_a_file_gives_numbers_as_numbers(capsys, tmp_path, name):
    """TOML has true, nan and inf too, which no number of ours is."""
    file = tmp_path / "settings.toml"
    for value in ("true", "nan"):
        file.write_text(f"{name} = {value}")
        assert refused(capsys, StackSettings, "--config", str(file)).startswith(f"{name} in the settings file"), value


@pytest.mark.parametrize(
    "name", ["max_connection_age_seconds", "gateway_rate_limit", "model_server_rate_limit", "prediction_max_age_days"]
)
def test_zero_is_none_and_next_to_zero_is_refused(capsys, name):
    """A connection that may get a nanosecond old answers nothing."""
    assert getattr(load(StackSettings, "program", [flag(name), "0"]), name) == 0
    assert "it takes 0, which means none, or 0." in refused(capsys, StackSettings, flag(name), "1e-9")


@pytest.mark.parametrize(("name", "none"), [("database_url", ""), ("api_keys_file", None)])
def test_an_empty_flag_is_none_where_there_may_be_none(capsys, monkeypatch, name, none):
    """It goes before a variable as every flag does; an address or a folder cannot be empty."""
    monkeypatch.setenv(name.upper(), "given")
    assert getattr(load(StackSettings, "program", [f"{flag(name)}="]), name) == none
    for needed in ("gateway_host", "data_dir", "gateway_port"):
        assert "it is blank; it takes" in refused(capsys, StackSettings, f"{flag(needed)}=")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--database-url=postgresql://user:hidden@host/\u200b"],
        ["--databse-url=postgresql://user:hid/den@host/db"],
        ["--gateway-rest-target=http://user:hidden@host:1"],
        ["--otel-exporter-otlp-endpoint=ftp://user:hidden@host"],
    ],
)
def test_a_refused_url_keeps_its_password(capsys, arguments):
    """Whatever is wrong with it, and where the flag's name is."""
    said = refused(capsys, StackSettings, *arguments)
    assert "hid" not in said
    assert "***" in said


def test_an_unknown_flag_is_one_sentence(capsys):
    """Not a page of usage."""
    assert refused(capsys, GatewaySettings, "--gatway-port", "1").endswith("--help lists the settings")


def test_log_levels_may_be_written_in_capitals(monkeypatch):
    """LOG_LEVEL=INFO is what most programs take."""
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    assert load(ModelServerSettings, "program", []).log_level == "warning"


@pytest.mark.parametrize("kind", [GatewaySettings, ModelServerSettings])
def test_help_has_every_setting(capsys, kind):
    """--help names the flag and the variable of each."""
    with pytest.raises(SystemExit) as caught:
        load(kind, "program", ["--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    assert [name for name in kind.fields if flag(name) not in shown or name.upper() not in shown] == []


def test_the_page_in_the_docs_is_what_the_settings_say(root):
    """docs/settings.md is `python -m stack --settings-markdown`, to the byte."""
    assert (root / "docs" / "settings.md").read_text("utf-8") == markdown(StackSettings)


def test_every_setting_is_described():
    """No row of the table is empty, and none stands in it twice."""
    table = markdown(StackSettings)
    for name, field in StackSettings.fields.items():
        assert field.description
        assert table.count(f"| `{name.upper()}` |") == 1


def test_what_a_client_may_let_wait_is_set():
    """Each of the times that a connection may take is a setting."""
    times = {"head_seconds": 1.5, "body_seconds": 2.5, "write_seconds": 3.5, "keep_alive_seconds": 620.0}
    limits = ModelServerSettings(**times).http_limits()
    assert {name: getattr(limits, name) for name in times} == times


def test_settings_travel_to_another_process_as_its_environment(monkeypatch):
    """What was given by flag reaches a child as variables that mean the same."""
    chosen = load(StackSettings, "program", ["--gateway-timing", "--grace-seconds", "3", "--gateway-host", "::1"])
    for name, value in environment(chosen).items():
        monkeypatch.setenv(name, value)
    assert load(StackSettings, "program", []) == chosen


def test_port_0_becomes_free_ports_that_differ():
    """Both services and the welcome text need to know the ports before they are bound."""
    chosen = StackSettings(**dict.fromkeys(PORTS, 0)).with_ports()
    assert len({getattr(chosen, name) for name in PORTS} - {0}) == len(PORTS)
    assert StackSettings(gateway_port=9000).with_ports().gateway_port == 9000


@pytest.mark.parametrize(
    ("host", "grpc", "rest"),
    [
        ("127.0.0.1", "127.0.0.1:8001", "http://127.0.0.1:8000"),
        ("0.0.0.0", "127.0.0.1:8001", "http://127.0.0.1:8000"),
        ("::", "[::1]:8001", "http://[::1]:8000"),
        ("fd00::7", "[fd00::7]:8001", "http://[fd00::7]:8000"),
        ("localhost", "localhost:8001", "http://localhost:8000"),
    ],
)
def test_where_the_gateway_goes_follows_from_what_the_model_server_binds(host, grpc, rest):
    """A wildcard means loopback, IPv6 stands in brackets."""
    target = GatewaySettings(model_server_host=host).target()
    assert (target.grpc, target.rest) == (grpc, rest)


def test_targets_that_are_set_win():
    """Two machines: the gateway goes where it is told, whatever is bound here."""
    target = GatewaySettings(gateway_grpc_target="ml:9001", gateway_rest_target="https://ml:9000").target()
    assert (target.grpc, target.rest) == ("ml:9001", "https://ml:9000")


def test_half_a_certificate_is_refused(tmp_path):
    """A certificate without its key names both settings."""
    with pytest.raises(ValueError, match="GATEWAY_TLS_CERT and GATEWAY_TLS_KEY need both"):
        GatewaySettings(gateway_tls_cert=tmp_path).tls()


@pytest.mark.parametrize("module", ["rest_gateway", "model_server"])
def test_programs_refuse_in_one_sentence(root, module):
    """The real programs: no traceback, one line, exit code 2."""
    wrong = {"MODEL_REPOSITORY": "/nonexistent", "GATEWAY_HOST": "no.such.host.invalid", "GATEWAY_PORT": "0"}
    ended = subprocess.run(
        [sys.executable, "-m", module],
        cwd=root,
        env={**os.environ, **wrong},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    named = "GATEWAY_HOST" if module == "rest_gateway" else "MODEL_REPOSITORY"
    assert named in ended.stderr
