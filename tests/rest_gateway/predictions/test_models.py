"""/api/models, and the computation as a GET with its data in the URL."""

from __future__ import annotations

import pytest

from crossover.protocol.errors import Code, InferenceError
from crossover.rest_gateway.predictions.documents import (
    ComputedDocument,
    ModelDocument,
    ModelList,
    PredictionDocument,
    SampleList,
)


@pytest.fixture
def database_url():
    return None


@pytest.fixture
def repository(tmp_path):
    """Labels and samples beside a model, and a secret beside the repository."""
    folder = tmp_path / "repository" / "scores"
    folder.mkdir(parents=True)
    (folder / "labels.txt").write_text("low\nmiddle\nhigh\n")
    (folder / "samples.json").write_text(
        '{"samples": [{"inputs": [1, 2, 3], "label": "high"}, {"inputs": [1], "label": 0}]}'
    )
    return folder.parent


async def test_list(client):
    """The list names every model with its versions and where to go on."""
    answer = await client.get("/api/models")
    ModelList.model_validate(answer.json())
    assert [model["name"] for model in answer.json()["models"]] == ["scores", "slow"]
    assert answer.headers["cache-control"].startswith("public")
    again = await client.get("/api/models", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_one(start, repository):
    """A model tells its inputs, its class names and a sample that can be POSTed as it is."""
    async with start(model_repository=repository) as gateway:
        found = (await gateway.client.get("/api/models/scores")).json()
        ModelDocument.model_validate(found)
        assert found["labels"] == ["low", "middle", "high"]
        assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        made = await gateway.client.post("/api/predictions", json=found["sample"])
        assert made.status_code == 201
        PredictionDocument.model_validate(made.json())
        assert (made.json()["answer"]["label"], made.json()["label"]) == ("high", "high")
        samples = (await gateway.client.get(found["links"]["samples"])).json()
        SampleList.model_validate(samples)
        assert [sample["label"] for sample in samples["samples"]] == ["high"]


async def test_without_a_repository(client):
    """Without the repository at hand there are no labels, and the sample is zeros."""
    found = (await client.get("/api/models/scores")).json()
    assert (found["labels"], found["sample"]["inputs"][0]["data"]) == ([], [0.0, 0.0, 0.0])


@pytest.mark.parametrize("name", ["nobody", "..", "%2e%2e", "..%2f..%2fetc"])
async def test_unknown(start, repository, name):
    """A model that is not there is 404, and no name leads out of the repository."""
    async with start(model_repository=repository) as gateway:
        for rest in ("", "/samples", "/prediction?x=1"):
            assert (await gateway.client.get(f"/api/models/{name}{rest}")).status_code == 404


async def test_model_server_away(gateway, client):
    """While the model server is away, models are 503 with Retry-After."""
    gateway.model.error = InferenceError(Code.UNAVAILABLE, "away")
    answer = await client.get("/api/models/scores")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_computed(gateway, client):
    """The GET form gives what POST gives, keeps nothing, and is cacheable with an ETag."""
    answer = await client.get("/api/models/scores/prediction?x=0.1,0.7,0.2")
    assert answer.status_code == 200
    ComputedDocument.model_validate(answer.json())
    posted = (await gateway.post()).json()
    assert (answer.json()["outputs"], answer.json()["answer"]) == (posted["outputs"], posted["answer"])
    assert "max-age" in answer.headers["cache-control"]
    assert "Inference-Upstream" in answer.headers["vary"]
    same = {"If-None-Match": answer.headers["etag"]}
    assert (await client.get("/api/models/scores/prediction?x=0.1,0.7,0.2", headers=same)).status_code == 304
    other = await client.get("/api/models/scores/prediction?x=0.1,0.7,0.3", headers=same)
    assert other.status_code == 200
    assert len((await client.get("/api/predictions")).json()["predictions"]) == 1


async def test_rows_in_a_url(client):
    """A variable first dimension takes as many rows as there are elements for; NaN and infinities have their names."""
    answer = await client.get("/api/models/scores/prediction?x=1,2,3,NaN,Infinity,-Infinity&upstream=rest")
    assert answer.json()["outputs"][0]["shape"] == [2, 3]
    assert answer.json()["outputs"][0]["data"][3:] == ["NaN", "Infinity", "-Infinity"]
    assert answer.headers["inference-upstream"] == "rest"


@pytest.mark.parametrize("query", ["", "x=", "x=1,2", "x=a,b,c", "x=1,2,3&x=1,2,3", "y=1,2,3", "x=1,2,3&z=1", "x=1,,3",
                                   "x=1,2,3&upstream=pigeon", "x=1e39,1,1"])  # fmt: skip
async def test_inputs_that_do_not_fit(client, query):
    """Query parameters that are no inputs of the model are 400."""
    answer = await client.get(f"/api/models/scores/prediction?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


async def test_computed_under_a_deadline(client):
    """The GET form has deadlines too: what has passed is 504."""
    answer = await client.get("/api/models/scores/prediction?x=1,2,3", headers={"Inference-Timeout-Ms": "x"})
    assert answer.status_code == 400


async def test_reference(gateway, client):
    """Every reference in the OpenAPI document leads to a schema, and its examples are accepted."""
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for name in _references(document):
        assert name.removeprefix("#/components/schemas/") in schemas
    operations = {(path, method) for path, item in document["paths"].items() for method in item}
    assert ("/api/predictions/{prediction_id}", "patch") in operations
    assert document["paths"]["/api/predictions"]["post"]["requestBody"]["content"]["application/json"]["example"]


def _references(item):
    if isinstance(item, dict):
        if isinstance(item.get("$ref"), str):
            yield item["$ref"]
        item = list(item.values())
    if isinstance(item, list):
        for child in item:
            yield from _references(child)
