"""Work that waits: 202, the queue, leases, retries, and exactly one outcome."""

from __future__ import annotations

import asyncio

from crossover.protocol.errors import Code, InferenceError
from crossover.rest_gateway.predictions.workers import Workers

LATER = {"Prefer": "respond-async"}


async def test_accepted(gateway, client, body):
    """Prefer: respond-async answers 202 with Retry-After and the prediction's own Location, whose state then changes."""
    gateway.model.gate.clear()
    accepted = await gateway.post(body(model="slow"), LATER, label=1)
    assert accepted.status_code == 202
    assert int(accepted.headers["retry-after"]) >= 1
    assert accepted.headers["preference-applied"] == "respond-async"
    place = accepted.headers["location"]
    assert place == f"/api/predictions/{accepted.json()['id']}"
    assert (accepted.json()["state"], accepted.json()["outputs"]) == ("queued", None)
    running = await gateway.until(place, "running")
    assert running["outputs"] is None
    gateway.model.gate.set()
    done = await gateway.until(place, "succeeded")
    assert done["outputs"][0]["data"] == [0.1, 0.7, 0.2]
    assert (done["label"], done["timings"]["total"] > 0) == (1, True)
    assert (await client.get(place)).headers["etag"] != accepted.headers["etag"]
    assert (await client.get(f"{place}/exchange")).json()["upstream"]["name"] == "grpc"


async def test_wait(gateway, body):
    """respond-async with wait=N answers 201 when the outcome comes in time, else 202."""
    quick = await gateway.post(body(), {"Prefer": "respond-async, wait=20"})
    assert (quick.status_code, quick.json()["state"]) == (201, "succeeded")
    gateway.model.gate.clear()
    slow = await gateway.post(body(model="slow"), {"Prefer": "respond-async, wait=0"})
    assert (slow.status_code, slow.json()["state"]) == (202, "queued")


async def test_failure(gateway, client, body):
    """A run that the model refuses ends in the state failed, with the problem that a waiting caller would have seen."""
    accepted = await gateway.post(body([1, 2]), LATER)
    assert accepted.status_code == 202
    failed = await gateway.until(accepted.headers["location"], "failed", "succeeded")
    assert (failed["state"], failed["error"]["status"], failed["error"]["code"]) == ("failed", 422, "INVALID_ARGUMENT")
    assert failed["outputs"] is None


async def test_waits_for_the_model_server(gateway, client):
    """While the model server is away, work is accepted and stays; it is done once the server is back."""
    gateway.model.error = InferenceError(Code.UNAVAILABLE, "the model server is away")
    accepted = await gateway.post(headers=LATER)
    assert accepted.status_code == 202
    place = accepted.headers["location"]
    for _ in range(200):
        if gateway.model.calls:
            break
        await asyncio.sleep(0.02)
    assert (await client.get(place)).json()["state"] in ("queued", "running")
    gateway.model.error = None
    assert (await gateway.until(place, "succeeded"))["outputs"]


async def test_not_found_right_after_the_server_was_away_is_tried_again(gateway, client):
    """A server that has just come back may not have read its models: the job waits; without that it fails at once."""
    gateway.model.error = InferenceError(Code.UNAVAILABLE, "the model server is away")
    accepted = await gateway.post(headers=LATER)
    while not gateway.model.calls:
        await asyncio.sleep(0.02)
    gateway.model.calls, gateway.model.error = 0, InferenceError(Code.NOT_FOUND, "no such model")
    while not gateway.model.calls:
        await asyncio.sleep(0.02)
    gateway.model.error = None
    assert (await gateway.until(accepted.headers["location"], "succeeded", "failed"))["state"] == "succeeded"


async def test_not_found_otherwise_is_the_outcome(gateway):
    """Nobody waits for a model that was never there."""
    gateway.model.gate.clear()
    busy = await gateway.post(headers=LATER)
    gateway.model.error = InferenceError(Code.NOT_FOUND, "no such model")
    gateway.model.gate.set()
    failed = await gateway.until(busy.headers["location"], "succeeded", "failed")
    assert (failed["state"], failed["error"]["status"]) == ("failed", 404)


async def test_gives_up(start):
    """Work that has waited longer than the setting allows fails with the reason."""
    async with start(retry_seconds=0.0) as gateway:
        gateway.model.error = InferenceError(Code.UNAVAILABLE, "the model server is away")
        accepted = await gateway.post(headers=LATER)
        failed = await gateway.until(accepted.headers["location"], "failed")
        assert (failed["error"]["status"], failed["error"]["code"]) == (503, "UNAVAILABLE")


async def test_failure_inside_is_an_outcome(gateway):
    """A failure of our own while a job runs ends the job too, and tells nothing of our insides."""
    accepted = await gateway.post(headers=LATER)
    gateway.model.error = RuntimeError("secret")
    later = await gateway.post(headers=LATER)
    assert (accepted.status_code, later.status_code) == (202, 500)
    gateway.model.error = None
    gateway.model.infer = _broken
    place = (await gateway.post(headers=LATER)).headers["location"]
    failed = await gateway.until(place, "failed")
    assert failed["error"]["code"] == "INTERNAL"
    assert "secret" not in str(failed)


async def _never(workers):
    await workers._pass(1000)


async def _broken(request, context):
    raise RuntimeError("secret")


async def test_stop_puts_jobs_back(start, body):
    """A gateway that stops lets go of its job, and the next one runs it to its one outcome."""
    async with start() as first:
        first.model.gate.clear()
        place = (await first.post(body(model="slow"), LATER)).headers["location"]
        await first.until(place, "running")
    async with start() as second:
        assert (await second.until(place, "succeeded"))["outputs"]
        assert second.model.calls == 1


async def test_lease_of_the_dead_ends(start, body, monkeypatch):
    """A job whose gateway no longer prolongs its lease is taken up by another one, and only that outcome is stored."""
    with monkeypatch.context() as patch:
        patch.setattr(Workers, "_prolong", _never)
        stuck = await start(lease_seconds=0.3).__aenter__()
    try:
        stuck.model.gate.clear()
        place = (await stuck.post(body(model="slow"), LATER)).headers["location"]
        await stuck.until(place, "running")
        async with start(lease_seconds=5.0) as other:
            done = await other.until(place, "succeeded")
            assert other.model.calls == 1
            stuck.model.gate.set()
            await asyncio.sleep(0.2)
            assert (await other.client.get(place)).json() == done
    finally:
        await stuck.__aexit__(None, None, None)


async def test_lease_of_the_living_holds(start, body):
    """A job that runs longer than its lease is not taken away from a gateway that prolongs it."""
    lease = 1.5
    async with start(lease_seconds=lease) as first, start(lease_seconds=lease) as second:
        for gateway in (first, second):
            gateway.model.gate.clear()
        place = (await first.post(body(model="slow"), LATER)).headers["location"]
        await first.until(place, "running")
        await asyncio.sleep(1.3 * lease)
        assert first.model.calls + second.model.calls == 1
        for gateway in (first, second):
            gateway.model.gate.set()
        await first.until(place, "succeeded")


async def test_many_jobs_two_gateways(start):
    """Of many jobs on one store each is run once, whichever gateway takes it."""
    async with start() as first, start() as second:
        answers = await asyncio.gather(*(gateway.post(headers=LATER) for gateway in (first, second) * 20))
        for answer in answers:
            await first.until(answer.headers["location"], "succeeded")
        assert first.model.calls + second.model.calls == 40


async def test_label_while_it_runs(gateway, client, body):
    """A label that is set while the job runs is kept beside the outcome."""
    gateway.model.gate.clear()
    place = (await gateway.post(body(model="slow"), LATER)).headers["location"]
    await gateway.until(place, "running")
    patched = await client.patch(place, json={"label": "x"}, headers={"If-Match": "*"})
    assert (patched.json()["state"], patched.json()["label"]) == ("running", "x")
    gateway.model.gate.set()
    assert (await gateway.until(place, "succeeded"))["label"] == "x"


async def test_deleted_while_it_runs(gateway, client, body):
    """A prediction that is deleted while it runs stays deleted."""
    gateway.model.gate.clear()
    place = (await gateway.post(body(model="slow"), LATER)).headers["location"]
    await gateway.until(place, "running")
    assert (await client.delete(place)).status_code == 204
    gateway.model.gate.set()
    await asyncio.sleep(0.2)
    assert (await client.get(place)).status_code == 404


async def test_replaced_while_it_runs(gateway, client, body):
    """The outcome of a run whose input was replaced meanwhile is not stored."""
    gateway.model.gate.clear()
    place = (await gateway.post(body(model="slow"), LATER)).headers["location"]
    await gateway.until(place, "running")
    put = await client.put(place, json=body([9, 1, 1]), headers={"If-Match": "*"})
    assert put.status_code == 200
    gateway.model.gate.set()
    await asyncio.sleep(0.2)
    assert (await client.get(place)).content == put.content


async def test_several_later(gateway, body):
    """Several requests with respond-async are all accepted together."""
    accepted = await gateway.client.post("/api/predictions", json={"requests": [body(), body()]}, headers=LATER)
    assert accepted.status_code == 202
    for item in accepted.json()["predictions"]:
        await gateway.until(item["links"]["self"], "succeeded")
