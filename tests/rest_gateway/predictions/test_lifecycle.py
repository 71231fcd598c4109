"""POST, GET, HEAD, DELETE: a prediction from its making to its end."""

from __future__ import annotations

import re


async def test_created(gateway, client):
    """POST answers 201 with Location and the representation, and GET gives the same with the same ETag."""
    made = await gateway.post(label=7, note="first")
    assert made.status_code == 201
    document = made.json()
    assert made.headers["location"] == f"/api/predictions/{document['id']}"
    assert document["state"] == "succeeded"
    assert (document["label"], document["note"], document["version"]) == (7, "first", "2")
    assert document["outputs"][0]["data"] == [0.1, 0.7, 0.2]
    assert document["answer"] == {"index": 1, "label": "1", "score": document["answer"]["score"]}
    assert re.fullmatch(r'"[^"]+"', made.headers["etag"])
    got = await client.get(made.headers["location"])
    assert got.status_code == 200
    assert got.content == made.content
    assert got.headers["etag"] == made.headers["etag"]
    assert "no-cache" in got.headers["cache-control"]


async def test_label_comes_back_as_sent(gateway, client):
    """A label is returned with its type: 7 stays a number and "7" a string."""
    for label in (7, "7", "seven", -(2**63), None):
        made = (await gateway.post(label=label)).json()
        found = (await client.get(f"/api/predictions/{made['id']}")).json()["label"]
        assert (type(found), found) == (type(label), label)


async def test_numbers_that_json_lacks(gateway, client, body):
    """NaN and the infinities are strings, both ways."""
    made = (await gateway.post(body(["NaN", "Infinity", "-Infinity"]))).json()
    assert made["outputs"][0]["data"] == ["NaN", "Infinity", "-Infinity"]
    assert made["inputs"][0]["data"] == ["NaN", "Infinity", "-Infinity"]


async def test_not_modified(gateway, client):
    """If-None-Match with the current ETag, weak, in a list or as * answers 304 without a body."""
    made = await gateway.post()
    tag = made.headers["etag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(made.headers["location"], headers={"If-None-Match": header})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = await client.get(made.headers["location"], headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


async def test_head_and_options(gateway, client):
    """HEAD has the headers of GET and no body; OPTIONS lists the methods."""
    made = await gateway.post()
    head = await client.head(made.headers["location"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == made.headers["etag"]
    assert head.headers["content-length"] == str(len(made.content))
    options = await client.options(made.headers["location"])
    assert options.status_code == 204
    assert options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert "merge-patch" in options.headers["accept-patch"]
    assert (await client.options("/api/predictions")).headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_deleted(gateway, client):
    """DELETE answers 204 once and 404 afterwards, as does GET."""
    place = (await gateway.post()).headers["location"]
    assert (await client.delete(place)).status_code == 204
    for answer in (await client.delete(place), await client.get(place), await client.get(f"{place}/exchange")):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_delete_honours_if_match(gateway, client):
    """DELETE with a stale If-Match answers 412 and deletes nothing."""
    made = await gateway.post()
    place = made.headers["location"]
    assert (await client.delete(place, headers={"If-Match": '"stale"'})).status_code == 412
    assert (await client.delete(place, headers={"If-Match": made.headers["etag"]})).status_code == 204


async def test_redirects(gateway, client):
    """A trailing slash moves with 308, and /latest points to the newest with 307."""
    slash = await client.get("/api/predictions/?limit=3")
    assert (slash.status_code, slash.headers["location"]) == (308, "/api/predictions?limit=3")
    assert (await client.get("/api/predictions/latest")).status_code == 404
    await gateway.post()
    newest = await gateway.post()
    latest = await client.get("/api/predictions/latest")
    assert (latest.status_code, latest.headers["location"]) == (307, newest.headers["location"])


async def test_exchange(gateway, client):
    """The exchange shows the caller's HTTP without credentials, beside the gateway's own call."""
    made = await gateway.post(headers={"Authorization": "Bearer secret", "X-Request-Id": "request-1"})
    found = (await client.get(f"{made.headers['location']}/exchange")).json()
    assert found["http"]["request"]["method"] == "POST"
    assert found["http"]["response"]["status"] == 201
    assert found["http"]["response"]["body"] == made.text
    assert "secret" not in str(found)
    assert ["x-request-id", "request-1"] in found["http"]["request"]["headers"]
    assert found["upstream"]["name"] == "grpc"
