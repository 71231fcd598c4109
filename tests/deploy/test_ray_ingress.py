"""What stands in ASGI behind Ray's HTTP ingress, without Ray: prefix, door, fields, start."""

from __future__ import annotations

import json

import pytest

from crossover.deploy.ray.rest_ingress import RestIngress
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.settings import ModelServerSettings
from crossover.service.doors import keys
from crossover.service.doors.setup import door_of


async def nothing():
    pass


def ingress(start=nothing, **settings) -> RestIngress:
    door = door_of(ModelServerSettings(**settings), "model_server")
    return RestIngress(OipRest(lambda _: (None, None), settings=RestOptions()), door, start, nothing)


async def asked(app, path, headers=(), prefix=""):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": prefix + path, "raw_path": (prefix + path).encode(), "root_path": prefix,
        "query_string": b"", "headers": [(b"host", b"localhost"), *headers], "client": ("127.0.0.1", 1), "scheme": "http",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("prefix", ["", "/models/crossover"])
async def test_routes_are_below_the_applications_prefix(prefix):
    """A route is the same under any `route_prefix`."""
    status, _, body = await asked(ingress(), "/v2/health/live", prefix=prefix)
    assert status == 405, body


async def test_keys_are_asked_for(tmp_path):
    """A replica with keys refuses a call without one (401 with its challenge), and lets nobody store what is answered."""
    file, key = tmp_path / "keys", keys.new_token()
    file.write_text(keys.line_of(keys.Key("caller", keys.scopes_of("infer"), keys.digest_of(key))))
    file.chmod(0o600)
    app = ingress(api_keys_file=file)
    status, fields, body = await asked(app, "/v2/models/digits/infer")
    assert (status, json.loads(body)["code"]) == (401, "UNAUTHENTICATED")
    assert dict(fields)[b"www-authenticate"].startswith(b"Bearer")
    assert dict(fields)[b"cache-control"] == b"no-store"
    status, _, _ = await asked(app, "/v2/models", [(b"authorization", f"Bearer {key}".encode())])
    assert status in (404, 405)


async def test_ray_alone_tells_the_request_id():
    """Ray's proxy adds the request's id to each reply, so that a replica's reply has none."""
    _, fields, _ = await asked(ingress(), "/nowhere", [(b"x-request-id", b"abc")])
    assert b"x-request-id" not in dict(fields)


async def test_a_repository_that_cannot_be_read_ends_the_start():
    """The replica's start fails with one sentence."""

    async def start():
        raise PermissionError(13, "Permission denied")

    sent = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    await ingress(start)({"type": "lifespan"}, receive, send)
    text = "the model repository can't be read: Permission denied (model_repository)"
    assert sent == [{"type": "lifespan.startup.failed", "message": text}]
