"""Dashboards and rules ask for what the services tell: every name and label in them is on a real `/metrics` page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from crossover.stack.services import running
from tests.rest_gateway.conftest import ask

_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
FUNCTIONS = {
    "sum", "max", "rate", "histogram_quantile", "by", "ignoring", "group_left", "and", "or", "label_values", "le",
}  # fmt: skip
OF_SCRAPING = {"job", "instance"}
"""Labels that Prometheus adds."""


def rules(root) -> list[dict]:
    groups = yaml.safe_load((root / "deploy" / "prometheus" / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions(root) -> dict[str, str]:
    """Every expression of the rules and dashboards, by where it stands."""
    found = {rule.get("record") or rule["alert"]: rule["expr"] for rule in rules(root)}
    for file in sorted((root / "deploy" / "grafana").glob("*.json")):
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                found[f"{file.stem}: {panel['title']} {target['refId']}"] = target["expr"]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                found[f"{file.stem}: ${variable['name']}"] = variable["query"]
    return found


def shown(text: str) -> dict[str, set[str]]:
    """Names of series with their labels, as a page has them."""
    series: dict[str, set[str]] = {}
    for name, _, labels in re.findall(r"^(\w+)(\{([^}]*)\})? ", text, re.MULTILINE):
        series.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return series


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What both services tell, after a request over each kind of wire, and one that failed."""
    folder = tmp_path_factory.mktemp("told")
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]}
    settings = {"GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(folder)}
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        for upstream in ("grpc", "grpc-stream", "rest"):
            for model, status in (("digits", 200), ("nope", 404)):
                path = f"/v2/models/{model}/infer"
                assert ask(stack.gateway_url, "POST", path, body, Inference_Upstream=upstream).status == status
        pages = [ask(url, "GET", "/metrics").body.decode() for url in (stack.gateway_url, stack.rest_url)]
    told = {"up": set()}
    for page in pages:
        for name, labels in shown(page).items():
            told.setdefault(name, set()).update(labels)
    return told


def test_every_name_is_told(root, told):
    """Each series of an expression is on a page, or recorded by a rule; a misspelt name is neither."""
    recorded = {rule["record"] for rule in rules(root) if "record" in rule}
    found = expressions(root)
    assert len(found) > 40
    for where, expression in found.items():
        bare = re.sub(r'"[^"]*"|\[[^\]]*\]|(by|ignoring|group_left) \([^)]*\)', " ", expression)
        bare = re.sub(r"\{[^}]*\}", " ", bare)
        names = {word for word in _WORD.findall(bare) if word not in FUNCTIONS and word not in ("job", "upstream")}
        assert names, where
        assert names <= recorded | set(told), f"{where}: {names - recorded - set(told)}"


def test_every_label_is_told(root, told):
    """What an expression selects or groups by is a label of a series that it names, or of Prometheus' own."""
    recorded = {rule["record"] for rule in rules(root) if "record" in rule}
    everywhere = {label for labels in told.values() for label in labels} | OF_SCRAPING
    for where, expression in expressions(root).items():
        for name, selected in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
            allowed = everywhere if name in recorded else told[name] | OF_SCRAPING
            assert set(re.findall(r"(\w+)\s*[=!]", selected)) <= allowed, where
        for grouped in re.findall(r"(?:by|ignoring) \(([^)]*)\)", expression):
            assert {label.strip() for label in grouped.split(",")} <= everywhere, where


def test_codes_in_the_rules_are_codes(root):
    """The codes that burn the budget are those of the error table."""
    from crossover.protocol.errors import Code

    burning = {
        code
        for rule in rules(root)
        for part in re.findall(r'code=~"([^"]*)"', rule["expr"])
        for code in part.split("|")
    }
    assert burning
    assert burning <= set(Code.__members__)
    assert {name for name, code in Code.__members__.items() if code.status.http >= 500} - {"UNIMPLEMENTED"} <= burning


def test_promtool_takes_the_rules(root):
    """Rules and configuration parse, and the alerts fire when they should (rules_test.yaml)."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; on Debian it is in the package prometheus")
    for command in (
        ("check", "rules", "rules.yaml"), ("check", "config", "prometheus.yaml"), ("test", "rules", "rules_test.yaml"),
    ):  # fmt: skip
        done = subprocess.run(
            ["promtool", *command], cwd=root / "deploy" / "prometheus", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_panels(root, tmp_path):
    """Each panel's expression is PromQL: as a rule, with Grafana's variables filled in."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; on Debian it is in the package prometheus")
    made = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$__rate_interval", "1m", expression)}
        for number, (where, expression) in enumerate(expressions(root).items())
        if "label_values" not in expression
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "panels.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
