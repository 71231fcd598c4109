"""Several predictions in one request, side by side."""

from __future__ import annotations


async def post(gateway, requests, **headers):
    return await gateway.client.post("/api/predictions", json={"requests": requests}, headers=headers)


async def test_side_by_side(gateway, client, body):
    """All run at the same time: the whole takes less than the sum, and each is kept."""
    made = await post(gateway, [body(model="slow", label=number) for number in range(4)])
    assert made.status_code == 201
    document = made.json()
    assert [item["label"] for item in document["predictions"]] == [0, 1, 2, 3]
    assert document["sum_ms"] >= 4 * 50
    assert document["elapsed_ms"] < document["sum_ms"]
    for item in document["predictions"]:
        assert (await client.get(item["links"]["self"])).json() == item


async def test_all_or_nothing(gateway, client, body):
    """When one cannot be run, the answer points to it and none is kept."""
    for requests, status, pointer in (
        ([body(), body([1, 2])], 422, "/requests/1"),
        ([body(), body(model="nobody")], 404, "/requests/1"),
        ([body(), {"model": "scores"}], 422, "/requests/1/inputs"),
        ([body(), 3], 422, "/requests/1"),
        ([body(), body(upstream="pigeon")], 422, "/requests/1/upstream"),
    ):
        answer = await post(gateway, requests)
        assert (answer.status_code, answer.json()["pointer"]) == (status, pointer)
    assert (await client.get("/api/predictions")).json()["predictions"] == []


async def test_how_many(gateway, client, body):
    """`requests` takes 1 to 100 requests and nothing beside it."""
    for document in (
        {"requests": []},
        {"requests": [body()] * 101},
        {"requests": {}},
        {"requests": [body()], "label": 3},
    ):
        assert (await client.post("/api/predictions", json=document)).status_code == 422
