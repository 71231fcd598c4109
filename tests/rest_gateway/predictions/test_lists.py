"""Lists, filters, cursors and the summary."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest


async def _many(gateway, count):
    return [(await gateway.post(label=number % 3)).json() for number in range(count)]


async def test_pages(gateway, client):
    """Following the Link headers gives every prediction once, newest first."""
    made = await _many(gateway, 7)
    found, place = [], "/api/predictions?limit=3"
    for _ in range(5):
        page = await client.get(place)
        found += [item["id"] for item in page.json()["predictions"]]
        if "next" not in page.links:
            assert page.json()["next"] is None
            break
        place = page.links["next"]["url"]
        assert page.json()["next"] == place
    assert found == [item["id"] for item in reversed(made)]


async def test_cursor_stays_where_it_was(gateway, client):
    """Predictions made after the first page do not move the next one."""
    made = await _many(gateway, 4)
    first = await client.get("/api/predictions?limit=2")
    await gateway.post()
    second = await client.get(first.links["next"]["url"])
    assert [item["id"] for item in second.json()["predictions"]] == [made[1]["id"], made[0]["id"]]


async def test_filters(gateway, client):
    """model, label, state, upstream, since and until each select, and the cursor keeps them."""
    made = await _many(gateway, 6)
    other = (await gateway.post(upstream="rest", label="1")).json()

    async def ids(query):
        return {item["id"] for item in (await client.get(f"/api/predictions?{query}")).json()["predictions"]}

    everything = {item["id"] for item in made} | {other["id"]}
    assert await ids("model=scores") == everything
    assert await ids("model=slow") == set()
    assert await ids("label=1") == {made[1]["id"], made[4]["id"], other["id"]}
    assert await ids("upstream=rest") == {other["id"]}
    assert await ids("state=succeeded") == everything
    assert await ids("state=failed") == set()
    moment = made[3]["created_at"]
    assert await ids(f"since={moment}") == {item["id"] for item in made[3:]} | {other["id"]}
    assert await ids(f"until={moment}") == {item["id"] for item in made[:3]}
    assert await ids("since=2000-01-01&until=2000-01-01T00:00:00+02:00") == set()
    page = await client.get("/api/predictions?label=0&limit=1")
    assert parse_qs(urlsplit(page.links["next"]["url"]).query)["label"] == ["0"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=501", "limit=-1", "cursor=x", "cursor=YWZ0ZXI=", "cursor=é",
                                   "state=done", "since=yesterday", "until=9", "lable=7"])  # fmt: skip
async def test_bad_queries(client, query):
    """A query parameter that cannot be read, or is not known, is 400 and named."""
    answer = await client.get(f"/api/predictions?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["detail"]


async def test_large_tensors_are_left_out_of_lists(gateway, client, body):
    """A list gives null for tensors with much text; the prediction itself has them."""
    long = body()
    long["inputs"][0] |= {"shape": [4000, 3], "data": [0.123] * 12000}
    made = (await gateway.post(long)).json()
    listed = (await client.get("/api/predictions")).json()["predictions"][0]
    assert (listed["id"], listed["inputs"], listed["outputs"]) == (made["id"], None, None)
    one = (await client.get(f"/api/predictions/{made['id']}")).json()
    assert len(one["outputs"][0]["data"]) == 12000


async def test_summary(gateway, client):
    """The summary counts by state, upstream and model, and compares answers with labels where both are known."""
    empty = (await client.get("/api/prediction-summary")).json()
    assert (empty["total"], empty["accuracy"]) == (0, None)
    for label in (1, "1", 2, None):
        await gateway.post(label=label)
    await gateway.post(upstream="rest", label=1)
    found = (await client.get("/api/prediction-summary")).json()
    assert (found["total"], found["labelled"], found["correct"], found["accuracy"]) == (5, 4, 3, 0.75)
    assert found["states"] == {"succeeded": 5}
    assert found["upstreams"] == {"grpc": 4, "rest": 1}
    assert found["models"] == [{"model": "scores", "total": 5, "labelled": 4, "correct": 3, "accuracy": 0.75}]
    assert (await client.get("/api/prediction-summary?upstream=rest")).json()["total"] == 1


async def test_lists_can_be_revalidated(gateway, client):
    """A list that has not changed answers 304 to its ETag, and 200 once it has."""
    await gateway.post()
    page = await client.get("/api/predictions")
    headers = {"If-None-Match": page.headers["etag"]}
    assert (await client.get("/api/predictions", headers=headers)).status_code == 304
    await gateway.post()
    assert (await client.get("/api/predictions", headers=headers)).status_code == 200
