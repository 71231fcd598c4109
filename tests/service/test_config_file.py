"""A settings file gives what neither a flag nor a variable does, and a mistake in it is one sentence."""

from __future__ import annotations

import pytest

from crossover.model_server.settings import ModelServerSettings
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service.settings import environment, load
from crossover.stack.settings import StackSettings
from tests.service.conftest import refused

FILE = """
log_level = "warning"
[gateway]
gateway_port = 9000
gateway_timing = true
[model_server]
model_max_queue = 7
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in StackSettings.fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "crossover.toml"
        path.write_text(text)
        return str(path)

    return write


def test_each_service_reads_what_is_its_own(written):
    """Keys at the top are for both, a table for the service of its name; the stack reads all and hands it on."""
    path = written(FILE)
    gateway = load(GatewaySettings, "program", ["--config", path])
    assert (gateway.log_level, gateway.gateway_port, gateway.gateway_timing) == ("warning", 9000, True)
    server = load(ModelServerSettings, "program", ["--config", path])
    assert (server.log_level, server.model_max_queue) == ("warning", 7)
    both = environment(load(StackSettings, "program", ["--config", path]))
    assert (both["GATEWAY_PORT"], both["MODEL_MAX_QUEUE"]) == ("9000", "7")


def test_a_flag_beats_a_variable_which_beats_the_file(written, monkeypatch):
    """The order is flag, environment, file, default."""
    monkeypatch.setenv("CONFIG_FILE", written(FILE))
    assert load(GatewaySettings, "program", []).gateway_port == 9000
    monkeypatch.setenv("GATEWAY_PORT", "9001")
    assert load(GatewaySettings, "program", []).gateway_port == 9001
    assert load(GatewaySettings, "program", ["--gateway-port", "9002"]).gateway_port == 9002


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "gateway_prot = 1",
            "'gateway_prot' in the settings file '{path}' is no setting of this program; did you mean gateway_port?",
        ),
        ("[gateway]\nnothing_like_it = 1", "[gateway] 'nothing_like_it' in the settings file"),
        ("gateway_port = [1]", "takes one value"),
        ("gateway = 1", "it takes a table, [gateway]"),
        (
            "gateway_port = 'many'",
            "gateway_port in the settings file '{path}' is 'many'; it takes an integer from 0 to 65535",
        ),
        (
            "[gatway]\nx = 1",
            "[gatway] in the settings file '{path}' is no table of this program; did you mean [gateway]?",
        ),
        ('"a\\nb" = 1', "'a\\x0ab' in the settings file"),
        ('"" = 1', "'' in the settings file"),
        ("\ufeffgateway_port = 'many'", "is 'many'"),
        ("gateway_port =", "is not TOML"),
        ("gateway_port = " + "[" * 5000, "is nested too deep"),
        ("gateway_port = " + "9" * 5000, "has a number that is too long"),
    ],
)
def test_a_mistake_is_one_sentence(written, capsys, text, said):
    """It names the file, the key, and what would be right."""
    path = written(text)
    assert said.format(path=path) in refused(capsys, GatewaySettings, "--config", path)


def test_a_missing_file_is_one_sentence(capsys, tmp_path):
    """A file that is not there ends the program before anything starts."""
    assert "cannot be read: No such file" in refused(capsys, GatewaySettings, "--config", str(tmp_path / "none.toml"))


def test_a_secret_may_come_in_a_file(tmp_path, monkeypatch, capsys):
    """DATABASE_URL_FILE names the file whose text is DATABASE_URL, so that the password is in no environment."""
    (tmp_path / "url").write_text("postgresql+asyncpg://user:secret@host/db\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert load(GatewaySettings, "program", []).database_url == "postgresql+asyncpg://user:secret@host/db"
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "none"))
    assert "DATABASE_URL_FILE names" in refused(capsys, GatewaySettings)


def test_the_settings_file_names_a_secrets_file(written, tmp_path, monkeypatch):
    """As the variable does, which goes before it."""
    for name in ("filed", "variable"):
        (tmp_path / name).write_text(f"sqlite+aiosqlite:///{name}\n")
    path = written(f"database_url_file = '{tmp_path / 'filed'}'")
    assert load(GatewaySettings, "program", ["--config", path]).database_url == "sqlite+aiosqlite:///filed"
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "variable"))
    assert load(GatewaySettings, "program", ["--config", path]).database_url == "sqlite+aiosqlite:///variable"


@pytest.mark.parametrize("kind", [GatewaySettings, ModelServerSettings, StackSettings])
def test_every_program_tells_its_version(kind, capsys):
    """`--version` prints it and ends."""
    with pytest.raises(SystemExit) as caught:
        load(kind, "program", ["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("program ")
