"""`/api/predictions/{id}/history`: every revision, how it came about and what it changed."""

from __future__ import annotations

import asyncio

from crossover.rest_gateway.predictions.sql_history import KEPT

BODY = {"model": "scores", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 3, 2]}]}


async def history_of(client, links):
    reply = await client.get(links["history"])
    assert reply.status_code == 200
    return reply.json()["revisions"]


async def test_a_change_is_in_the_history(start):
    """Created, edited and replaced, the newest first, each with what it altered."""
    async with start() as gateway:
        made = (await gateway.client.post("/api/predictions", json=BODY)).json()
        links = made["links"]
        (only,) = await history_of(gateway.client, links)
        assert (only["revision"], only["event"], only["at"], only["changed"]) == (1, "created", made["created_at"], [])
        match = {"If-Match": "*"}
        await gateway.client.patch(links["self"], json={"label": 1, "note": "n" * 500}, headers=match)
        other = {**BODY, "label": 1, "inputs": [{**BODY["inputs"][0], "data": [9, 3, 2]}]}
        replaced = (await gateway.client.put(links["self"], json=other, headers=match)).json()
        third, second, first = await history_of(gateway.client, links)
        assert [each["event"] for each in (first, second, third)] == ["created", "edited", "replaced"]
        assert [each["changed"] for each in (first, second, third)] == [[], ["label", "note"], ["note", "answer"]]
        assert (second["label"], second["note"]) == (1, "n" * 200)
        assert first["at"] < second["at"] < third["at"] == replaced["updated_at"]


async def test_a_queued_prediction_tells_its_states(start):
    """A worker's doing is in it: queued, running, succeeded."""
    async with start() as gateway:
        reply = await gateway.client.post("/api/predictions", json=BODY, headers={"Prefer": "respond-async"})
        links = reply.json()["links"]
        async with asyncio.timeout(10):
            while (await gateway.client.get(links["self"])).json()["state"] != "succeeded":
                await asyncio.sleep(0.01)
        told = [(each["event"], each["state"]) for each in await history_of(gateway.client, links)]
        assert told == [("finished", "succeeded"), ("started", "running"), ("created", "queued")]


async def test_the_history_has_an_end_and_goes_with_its_prediction(start):
    """The newest revisions are kept, the current one matches its tag, and a deleted prediction leaves nothing."""
    async with start() as gateway:
        links = (await gateway.client.post("/api/predictions", json=BODY)).json()["links"]
        for i in range(KEPT + 5):
            await gateway.client.patch(links["self"], json={"label": i}, headers={"If-Match": "*"})
        told = await history_of(gateway.client, links)
        assert [each["label"] for each in told] == list(range(KEPT + 4, 3, -1))
        assert told[-1]["event"] is None
        tag = (await gateway.client.get(links["history"])).headers["etag"]
        assert (await gateway.client.get(links["history"], headers={"If-None-Match": tag})).status_code == 304
        await gateway.client.delete(links["self"])
        assert (await gateway.client.get(links["history"])).status_code == 404


async def test_of_two_changes_at_once_one_is_kept(start):
    """A revision has one successor, and the history one row for it."""
    async with start() as gateway:
        made = await gateway.client.post("/api/predictions", json=BODY)
        links, tag = made.json()["links"], made.headers["etag"]
        replies = await asyncio.gather(
            *(gateway.client.patch(links["self"], json={"label": i}, headers={"If-Match": tag}) for i in range(8))
        )
        assert sorted(reply.status_code for reply in replies) == [200, *[412] * 7]
        assert [each["revision"] for each in await history_of(gateway.client, links)] == [2, 1]
