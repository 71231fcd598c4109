"""Every 4xx and 5xx is problem details with the status the book says, our code, and gRPC's status name."""

from __future__ import annotations

import pytest

from crossover.protocol.errors import Code, InferenceError


@pytest.fixture
def database_url():
    """What is refused never reaches a store, so one kind of store shows it."""
    return


def check(answer, status, code=None, grpc=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if code:
        assert (problem["code"], problem["grpc_status"]) == (code, grpc or code)
    return problem


async def post_text(client, text, kind="application/json", **headers):
    return await client.post("/api/predictions", content=text, headers={"Content-Type": kind, **headers})


@pytest.mark.parametrize("text", ["", "{", "[1", '{"model": NaN}', b"\xff", '{"a": "\\ud800"}', "[" * 3000])
async def test_broken_json(client, text):
    """What is not JSON is 400."""
    check(await post_text(client, text), 400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("change", [
    {"model": None}, {"model": 3}, {"model": ""}, {"inputs": None}, {"inputs": []}, {"inputs": {}}, {"inputs": [3]},
    {"inputs": [{}]}, {"label": 1.5}, {"label": True}, {"label": [1]}, {"note": 4}, {"lable": 4}, {"parameters": {"a": [1]}},
    {"upstream": "pigeon"}, {"version": 3}, {"note": "a\0b"},
])  # fmt: skip
async def test_bodies_that_mean_nothing(gateway, client, change):
    """JSON that is no prediction is 422 with a pointer to the member, and makes nothing."""
    problem = check(await gateway.post(**change), 422, "INVALID_ARGUMENT")
    assert problem["pointer"].startswith(f"/{next(iter(change))}")
    assert (await client.get("/api/predictions")).json()["predictions"] == []


@pytest.mark.parametrize("change", [
    {"name": ""}, {"name": 3}, {"datatype": "FP31"}, {"datatype": "FP16"}, {"shape": [2, 3]}, {"shape": [-1, 3]},
    {"shape": "x"}, {"shape": [1.0, 3]}, {"shape": [2**40, 2**40]}, {"data": None}, {"data": [1, 2]}, {"data": ["a", 1, 2]},
    {"data": [None, 1, 2]}, {"data": [True, 1, 2]}, {"data": [1e39, 1, 2]}, {"datatype": "INT8", "data": [1, 2, 300]},
    {"datatype": "BYTES", "data": [1, 2, 3]}, {"data": [[1, 2], [3]]}, {"shape": [1, 2], "data": [1, 2]},
])  # fmt: skip
async def test_broken_tensors(gateway, body, change):
    """Tensors that contradict themselves or the model are 422."""
    document = body()
    document["inputs"][0] |= change
    check(await gateway.post(document), 422)


async def test_no_object(client):
    """JSON that is no object is 422."""
    for text in ("[]", "3", "null", '"a"'):
        check(await post_text(client, text), 422)


async def test_unknown_model(gateway):
    """A model that nobody knows is 404, whether the caller waits or not."""
    check(await gateway.post(model="nobody"), 404, "NOT_FOUND")
    check(await gateway.post(model="nobody", headers={"Prefer": "respond-async"}), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_other_media_types(client, gateway, kind):
    """A body of another type is 415 with the types that are taken."""
    answer = await post_text(client, "{}", kind)
    check(answer, 415, "UNSUPPORTED_MEDIA_TYPE", "UNIMPLEMENTED")
    assert answer.headers["accept-post"] == "application/json"
    place = (await gateway.post()).headers["location"]
    patch = await client.patch(place, content="{}", headers={"Content-Type": kind, "If-Match": "*"})
    check(patch, 415)
    assert "application/merge-patch+json" in patch.headers["accept-patch"]


async def test_no_content_type(client):
    """A body without a type is 415."""
    check(await client.post("/api/predictions", content=b"{}"), 415)


async def test_content_codings(client, gateway, body):
    """A gzip body is read; an unknown coding is 415."""
    import gzip
    import json

    packed = gzip.compress(json.dumps(body()).encode())
    headers = {"Content-Encoding": "gzip"}
    assert (await post_text(client, packed, **headers)).status_code == 201
    check(await post_text(client, "{}", **{"Content-Encoding": "br"}), 415)


@pytest.mark.parametrize("accept", ["text/html", "application/xml, text/plain", "application/json;q=0", "*/*;q=0"])
async def test_not_acceptable(client, accept):
    """An Accept that excludes JSON is 406."""
    check(await client.get("/api/predictions", headers={"Accept": accept}), 406)


@pytest.mark.parametrize("accept", ["application/json", "application/*", "*/*", "text/html, */*;q=0.1", ""])
async def test_acceptable(client, accept):
    """An Accept that includes JSON, however little, is served."""
    assert (await client.get("/api/predictions", headers={"Accept": accept})).status_code == 200


async def test_methods(client):
    """A method that a resource lacks is 405 with Allow; an unknown path is 404."""
    for path, allow in (("/api/predictions", "GET, HEAD, OPTIONS, POST"), ("/api/prediction-summary", "GET, HEAD, OPTIONS"),
                        ("/api/predictions/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
                        ("/api/models", "GET, HEAD, OPTIONS")):  # fmt: skip
        answer = await client.request("PURGE", path)
        check(answer, 405, "METHOD_NOT_ALLOWED", "UNIMPLEMENTED")
        assert answer.headers["allow"] == allow
    for path in ("/api", "/api/", "/api/nothing", "/api/predictions/x/y"):
        check(await client.get(path), 404, "NOT_FOUND")


async def test_too_large(start, body):
    """A body over the limit is 413 and names the setting."""
    async with start(max_message_bytes=2048) as gateway:
        long = body([0.1] * 3000)
        problem = check(await gateway.post(long), 413, "TOO_LARGE", "RESOURCE_EXHAUSTED")
        assert "MAX_MESSAGE_BYTES" in problem["detail"]


@pytest.mark.parametrize(("code", "status", "grpc"), [
    (Code.UNAVAILABLE, 503, "UNAVAILABLE"), (Code.OVERLOADED, 429, "RESOURCE_EXHAUSTED"),
    (Code.DEADLINE_EXCEEDED, 504, "DEADLINE_EXCEEDED"), (Code.INTERNAL, 500, "INTERNAL"),
    (Code.INVALID_ARGUMENT, 422, "INVALID_ARGUMENT"), (Code.PERMISSION_DENIED, 403, "PERMISSION_DENIED"),
])  # fmt: skip
async def test_failures_of_the_model(gateway, client, code, status, grpc):
    """What the model server means is what the caller sees, Retry-After included; nothing is kept."""
    gateway.model.error = InferenceError(code, "the model said so")
    answer = await gateway.post()
    problem = check(answer, status, code.name, grpc)
    assert problem["detail"] == "the model said so"
    assert ("retry-after" in answer.headers) == code.status.retryable
    assert (await client.get("/api/predictions")).json()["predictions"] == []


async def test_failure_inside(gateway):
    """A failure of our own is 500 and tells nothing of our insides."""
    gateway.model.error = RuntimeError("secret")
    problem = check(await gateway.post(), 500, "INTERNAL")
    assert "secret" not in str(problem)


async def test_deadline(gateway):
    """A deadline that passes is 504; a header that cannot be read is 400."""
    gateway.model.gate.clear()
    for text in ("0", "soon", "-1"):
        check(await gateway.post(headers={"Inference-Timeout-Ms": text}), 400)


async def test_upstreams(gateway, start):
    """The body's upstream goes before the header's; one that cannot be chosen is 422 in the body, 400 in the header."""
    made = await gateway.post(upstream="rest", headers={"Inference-Upstream": "grpc"})
    assert made.headers["inference-upstream"] == made.json()["upstream"] == "rest"
    assert (await gateway.post(headers={"Inference-Upstream": "rest"})).json()["upstream"] == "rest"
    assert (await gateway.post()).json()["upstream"] == "grpc"
    check(await gateway.post(headers={"Inference-Upstream": "pigeon"}), 400)
    async with start(upstream_choice=False) as strict:
        check(await strict.post(upstream="rest"), 403, "PERMISSION_DENIED")


async def test_conditions_that_cannot_be_read(gateway, client):
    """An If-Match that is no list of entity tags is 400."""
    place = (await gateway.post()).headers["location"]
    check(await client.delete(place, headers={"If-Match": "abc"}), 400)
