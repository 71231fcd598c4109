"""PATCH and PUT: changes on a state that the caller names."""

from __future__ import annotations

import asyncio

import pytest

MERGE = {"Content-Type": "application/merge-patch+json"}


async def test_patch(gateway, client):
    """A merge patch sets and, with null, removes; the answer is the new representation and its ETag."""
    made = await gateway.post(label=3, note="first")
    place = made.headers["location"]
    changed = await client.patch(place, content='{"label": "3b"}', headers={**MERGE, "If-Match": made.headers["etag"]})
    assert changed.status_code == 200
    assert (changed.json()["label"], changed.json()["note"]) == ("3b", "first")
    assert changed.headers["etag"] != made.headers["etag"]
    assert changed.json()["updated_at"] > made.json()["updated_at"]
    assert changed.json()["created_at"] == made.json()["created_at"]
    got = await client.get(place)
    assert (got.content, got.headers["etag"]) == (changed.content, changed.headers["etag"])
    removed = await client.patch(place, json={"note": None}, headers={"If-Match": got.headers["etag"]})
    assert (removed.json()["label"], removed.json()["note"]) == ("3b", None)


async def test_patch_that_changes_nothing(gateway, client):
    """A patch to what is already there keeps the ETag, but 7 and "7" differ."""
    made = await gateway.post(label=7)
    place, tag = made.headers["location"], made.headers["etag"]
    for content in ("{}", '{"label": 7}'):
        assert (await client.patch(place, content=content, headers={**MERGE, "If-Match": tag})).headers["etag"] == tag
    changed = await client.patch(place, content='{"label": "7"}', headers={**MERGE, "If-Match": tag})
    assert changed.headers["etag"] != tag
    assert changed.json()["label"] == "7"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_conditions(gateway, client, body, method):
    """A change without If-Match is 428, with a stale one 412, with * it is made; nothing else changes anything."""
    made = await gateway.post()
    place = made.headers["location"]
    document = {"label": 1} if method == "PATCH" else body(label=1)
    assert (await client.request(method, place, json=document)).status_code == 428
    stale = await client.request(method, place, json=document, headers={"If-Match": '"stale"'})
    assert stale.status_code == 412
    weak = await client.request(method, place, json=document, headers={"If-Match": f"W/{made.headers['etag']}"})
    assert weak.status_code == 412
    assert (await client.get(place)).content == made.content
    assert (await client.request(method, place, json=document, headers={"If-Match": "*"})).json()["label"] == 1


async def test_patch_of_other_members(gateway, client):
    """Only label and note may change: anything else is 422 and named."""
    made = await gateway.post()
    for document, name in (({"model": "slow"}, "model"), ({"label": 1.5}, "label"), ({"label": True}, "label"),
                           ({"note": 3}, "note"), ({"label": "a\0"}, "label"), ({"label": "x" * 201}, "label")):  # fmt: skip
        answer = await client.patch(made.headers["location"], json=document, headers={"If-Match": "*"})
        assert (answer.status_code, answer.json()["pointer"]) == (422, f"/{name}")
        assert name in answer.json()["detail"]
    assert (await client.get(made.headers["location"])).content == made.content


async def test_put_replaces(gateway, client, body):
    """PUT runs the new input and replaces label and note with what it says; id and created_at stay."""
    made = await gateway.post(label=1, note="old")
    place = made.headers["location"]
    put = await client.put(place, json=body([0.9, 0.0, 0.1]), headers={"If-Match": made.headers["etag"]})
    assert put.status_code == 200
    new, old = put.json(), made.json()
    assert (new["label"], new["note"], new["answer"]["index"]) == (None, None, 0)
    assert (new["id"], new["created_at"]) == (old["id"], old["created_at"])
    got = await client.get(place)
    assert (got.content, got.headers["etag"]) == (put.content, put.headers["etag"])
    assert (await client.get(f"{place}/exchange")).json()["http"]["request"]["method"] == "PUT"


async def test_put_of_what_was_read(gateway, client):
    """A representation can be PUT back as it was read: members that only the service sets are not looked at."""
    made = await gateway.post(label=1)
    put = await client.put(made.headers["location"], json=made.json(), headers={"If-Match": made.headers["etag"]})
    assert put.status_code == 200
    assert (put.json()["inputs"], put.json()["label"]) == (made.json()["inputs"], 1)


async def test_put_that_fails_changes_nothing(gateway, client, body):
    """When the run fails, the stored prediction stays as it was."""
    made = await gateway.post(label=1)
    answer = await client.put(made.headers["location"], json=body([1, 2]), headers={"If-Match": "*"})
    assert answer.status_code == 422
    assert (await client.get(made.headers["location"])).content == made.content


async def test_put_later(gateway, client, body):
    """PUT with Prefer: respond-async answers 202, and the new outcome comes by itself."""
    made = await gateway.post()
    place = made.headers["location"]
    headers = {"If-Match": made.headers["etag"], "Prefer": "respond-async"}
    put = await client.put(place, json=body([0.9, 0.0, 0.1]), headers=headers)
    assert (put.status_code, put.json()["state"], put.json()["outputs"]) == (202, "queued", None)
    assert (await gateway.until(place, "succeeded"))["answer"]["index"] == 0


async def test_unknown(gateway, client, body):
    """Changes to what is not there are 404, whatever their conditions."""
    for method, document in (("PATCH", {"label": 1}), ("PUT", body()), ("DELETE", None)):
        assert (await client.request(method, "/api/predictions/none", json=document)).status_code == 404


async def test_one_of_many_writers_wins(gateway, client):
    """Of concurrent changes on the same ETag exactly one is made and the others are 412."""
    made = await gateway.post()
    place, tag = made.headers["location"], made.headers["etag"]
    changes = (client.patch(place, json={"label": number}, headers={"If-Match": tag}) for number in range(8))
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    winner = next(answer for answer in answers if answer.status_code == 200)
    assert (await client.get(place)).content == winner.content


async def test_no_change_is_lost_under_star(gateway, client):
    """Concurrent changes with If-Match: * are all made, one after the other."""
    place = (await gateway.post()).headers["location"]
    label = client.patch(place, json={"label": 5}, headers={"If-Match": "*"})
    note = client.patch(place, json={"note": "five"}, headers={"If-Match": "*"})
    assert [answer.status_code for answer in await asyncio.gather(label, note)] == [200, 200]
    found = (await client.get(place)).json()
    assert (found["label"], found["note"]) == (5, "five")
