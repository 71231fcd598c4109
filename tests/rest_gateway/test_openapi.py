"""`/openapi.json` is complete and true: every route stands in it, and every example of it runs as it says."""

from __future__ import annotations

import pytest

from crossover.endpoints.rest.routes import _TABLE
from crossover.rest_gateway.app import create_app
from crossover.rest_gateway.settings import GatewaySettings


@pytest.fixture(scope="module")
def document(stack):
    from tests.rest_gateway.conftest import ask

    return ask(stack.gateway_url, "GET", "/openapi.json").json()


def oip_operations(document):
    for path, methods in document["paths"].items():
        if not path.startswith("/api"):
            for method, operation in methods.items():
                yield path, method, operation


def test_every_supported_route_is_documented(document):
    """The routes' own table and the document agree, in both directions."""
    supported = {
        (template.rstrip("/").replace("{m}", "{model}").replace("{v}", "{version}") or "/", method.lower())
        for template, methods, name in _TABLE
        if name != "unsupported" and "_memory_" not in name  # 501 at a gateway
        for method in methods.split()
    }
    assert {(path, method) for path, method, _ in oip_operations(document)} == supported


def test_every_example_runs_and_its_reply_fits_its_schema(document, gateway):
    """People copy examples; each is sent as it stands, and status, type and every key of the reply are as documented."""
    count = 0
    first = ["/v2/repository/models/{model}/unload", "/v2/repository/models/{model}/load"]
    operations = sorted(oip_operations(document), key=lambda each: first.index(each[0]) if each[0] in first else 2)
    for path, method, operation in operations:
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
        body = None
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["example"]
        reply = gateway(method.upper(), path, body)
        assert reply.status == 200, (path, reply.body)
        content = operation["responses"]["200"].get("content", {})
        kind = reply.headers.get("content-type", "").partition(";")[0]
        assert kind in content or (not content and not reply.body), (path, kind)
        if kind == "application/json":
            assert mismatch(reply.json(), content[kind]["schema"], document) is None, path
        count += 1
    assert count > 20


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v2/models/nope", None, "404"),
        ("POST", "/v2/models/digits/infer", {"inputs": []}, "400"),
        ("POST", "/v2/models/digits/infer", b"{", "400"),
        ("POST", "/v2/repository/models/nope/load", {}, "404"),
    ],
)
def test_errors_are_as_documented(document, gateway, method, path, body, status):
    """A documented error has its documented status and schema."""
    template = path.replace("nope", "{model}").replace("digits", "{model}")
    documented = document["paths"][template][method.lower()]["responses"]
    reply = gateway(method, path, body)
    assert str(reply.status) == status
    assert mismatch(reply.json(), documented[status]["content"]["application/json"]["schema"], document) is None


def test_every_reference_leads_somewhere(document):
    """Tools refuse a document with a dangling reference."""

    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in set(references(document)):
        node = document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]


def test_operations_have_names_of_their_own(document):
    """Code generators name methods after the operation id."""
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_choice_of_upstream_is_documented_where_it_is_there(document, tmp_path):
    """A gateway that ignores the header does not promise it."""
    assert "Inference-Upstream" in str(document["paths"])
    plain = create_app(GatewaySettings(data_dir=tmp_path, gateway_upstream_header=False))
    assert "Inference-Upstream" not in str(
        {
            path: item
            for path, item in plain.fallback.app.app.built().openapi()["paths"].items()
            if path.startswith("/v")
        }
    )


def mismatch(value, schema, document):
    """Where `value` does not fit the JSON schema, or None: the parts of JSON schema that the OIP half uses."""
    if "$ref" in schema:
        return mismatch(value, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r} is not in the enumeration"
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(isinstance(value, kinds[name]) for name in names):
        return f"{value!r} is not {names}"
    if isinstance(value, dict) and "properties" in schema:
        if missing := set(schema.get("required", [])) - set(value):
            return f"{missing} missing"
        if unknown := set(value) - set(schema["properties"]):
            return f"{unknown} not documented"
        found = (mismatch(item, schema["properties"][key], document) for key, item in value.items())
    elif isinstance(value, dict) and "additionalProperties" in schema:
        found = (mismatch(item, schema["additionalProperties"], document) for item in value.values())
    elif isinstance(value, list):
        found = (mismatch(item, schema.get("items", {}), document) for item in value)
    else:
        return None
    return next((each for each in found if each), None)
