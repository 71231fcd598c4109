"""Idempotency-Key: a repeated POST makes nothing a second time."""

from __future__ import annotations

import asyncio

from crossover.protocol.errors import Code, InferenceError

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}


async def test_repeated(gateway, client, body):
    """The same key and body give the same prediction, whatever the white space, and the model runs once."""
    first = await gateway.post(headers=KEY)
    again = await gateway.post(headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["location"] == first.headers["location"]
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert gateway.model.calls == 1
    bare = await gateway.post(headers={"Idempotency-Key": KEY["Idempotency-Key"].strip('"')})
    assert bare.headers["location"] == first.headers["location"]
    other = await gateway.post(headers={"Idempotency-Key": "other"})
    assert other.headers["location"] != first.headers["location"]


async def test_another_body(gateway):
    """Another body under a used key is 422."""
    await gateway.post(headers=KEY)
    assert (await gateway.post(headers=KEY, label=1)).status_code == 422


async def test_still_running(gateway, body):
    """While the first request runs, a second one under its key is 409 with Retry-After, and 422 with another body."""
    gateway.model.gate.clear()
    first = asyncio.create_task(gateway.post(body(model="slow"), KEY))
    while not gateway.model.calls:
        await asyncio.sleep(0.01)
    second = await gateway.post(body(model="slow"), KEY)
    assert second.status_code == 409
    assert "retry-after" in second.headers
    assert (await gateway.post(body(model="slow", label=1), KEY)).status_code == 422
    gateway.model.gate.set()
    made = await first
    third = await gateway.post(body(model="slow"), KEY)
    assert (made.status_code, third.headers["location"]) == (201, made.headers["location"])
    assert gateway.model.calls == 1


async def test_after_failure(gateway):
    """A request that failed leaves its key free."""
    gateway.model.error = InferenceError(Code.UNAVAILABLE, "away")
    assert (await gateway.post(headers=KEY)).status_code == 503
    gateway.model.error = None
    assert (await gateway.post(headers=KEY)).status_code == 201


async def test_refused_body_leaves_the_key_free(gateway):
    """A body that is refused does not use its key up."""
    assert (await gateway.post(headers=KEY, model="")).status_code == 422
    assert (await gateway.post(headers=KEY)).status_code == 201


async def test_accepted_work(gateway, body):
    """A repeated respond-async gives the same prediction in whatever state it is."""
    gateway.model.gate.clear()
    headers = {**KEY, "Prefer": "respond-async"}
    first = await gateway.post(body(model="slow"), headers)
    again = await gateway.post(body(model="slow"), headers)
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    gateway.model.gate.set()
    await gateway.until(first.headers["location"], "succeeded")
    assert (await gateway.post(body(model="slow"), headers)).status_code == 201
    assert gateway.model.calls == 1


async def test_several(gateway, client, body):
    """A repeated request for several gives the same several."""
    document = {"requests": [body(), body(label=2)]}
    first = await client.post("/api/predictions", json=document, headers=KEY)
    again = await client.post("/api/predictions", json=document, headers=KEY)
    assert again.json() == first.json()
    assert gateway.model.calls == 2


async def test_deleted(gateway, client):
    """A late repeat of what was made and deleted does not make it anew: 410."""
    place = (await gateway.post(headers=KEY)).headers["location"]
    await client.delete(place)
    assert (await gateway.post(headers=KEY)).status_code == 410


async def test_survives_a_restart(start):
    """A key outlives the gateway, and so does what it made."""
    async with start() as first:
        place = (await first.post(headers=KEY)).headers["location"]
    async with start() as second:
        assert (await second.post(headers=KEY)).headers["location"] == place
        assert second.model.calls == 0


async def test_many_at_once(start):
    """Of many concurrent requests under one key, on two gateways, one makes the prediction and none another."""
    async with start() as first, start() as second:
        answers = await asyncio.gather(*(gateway.post(headers=KEY) for gateway in (first, second) * 8))
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.headers["location"] for answer in answers if answer.status_code == 201}) == 1
        assert first.model.calls + second.model.calls == 1


async def test_keys_that_cannot_be_read(gateway):
    """An empty or too long key is 400."""
    for key in ("", '""', "k" * 256):
        assert (await gateway.post(headers={"Idempotency-Key": key})).status_code == 400
