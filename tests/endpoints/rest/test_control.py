"""Health, metadata, statistics, repository, V1, routes: what real clients read of them."""

import base64
import json

import pytest

from crossover.endpoints.control_policy import ControlPolicy
from crossover.endpoints.rest import RestOptions
from crossover.endpoints.rest.routes import match


@pytest.mark.parametrize(("path", "key"), [("/v2/health/live", "live"), ("/v2/health/ready", "ready")])
async def test_health_has_a_json_body(call, path, key):
    """kserve's client reads {"live": true} and {"ready": true}; an empty body breaks it."""
    answer = await call("GET", path)
    assert (answer.status, answer.json) == (200, {key: True})


async def test_what_is_not_ready_is_503(call):
    """Readiness of server and model is 503 with an error text and ready false; liveness stays 200."""
    call.inference.ready = False
    for path in ("/v2/health/ready", "/v2/models/echo/ready", "/v2/models/echo/versions/7/ready", "/v1/models/echo"):
        answer = await call("GET", path)
        assert (answer.status, answer.json["ready"], answer.json["code"]) == (503, False, "UNAVAILABLE")
        assert answer.headers["Retry-After"]
    assert (await call("GET", "/v2/health/live")).status == 200


async def test_an_unknown_model_is_404_everywhere(call):
    """NOT_FOUND from the inference is 404 on every route of a model."""
    for path in ("", "/ready", "/config", "/versions/1", "/versions/1/ready", "/versions/1/config"):
        answer = await call("GET", f"/v2/models/none{path}")
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
async def test_server_metadata_with_and_without_slash(call, path):
    """Both are served, without a redirect; extensions is always an array."""
    answer = await call("GET", path)
    assert (answer.status, answer.json) == (
        200, {"name": "fake", "version": "1", "extensions": ["binary_tensor_data"]},
    )  # fmt: skip


async def test_model_metadata(call):
    """Tensors have name, datatype and shape; a version of the path is the only one listed."""
    answer = await call("GET", "/v2/models/echo/versions/3")
    assert answer.json["versions"] == ["3"]
    assert answer.json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


async def test_configuration_has_snake_case_enum_names_and_numbers(call):
    """perf_analyzer reads data_type as text and dims as numbers; what is unset in a oneof is absent."""
    config = (await call("GET", "/v2/models/echo/config")).json
    assert config["max_batch_size"] == 8
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert config["input"][0]["dims"] == [2]
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert not {"dynamic_batching", "model_transaction_policy"} & config.keys()


async def test_statistics_have_every_part(call):
    """perf_analyzer reads all durations without looking; 64-bit numbers are numbers, exact."""
    stats = (await call("GET", "/v2/models/echo/stats")).json["model_stats"]
    assert [item["name"] for item in stats] == ["echo"]
    assert stats[0]["inference_count"] == 2**53 + 1
    parts = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
    for part in parts:
        assert stats[0]["inference_stats"][part] == {"count": 0, "ns": 0}
    everything = (await call("GET", "/v2/models/stats")).json["model_stats"]
    assert len(everything) > 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready":false}'])
async def test_the_index_is_an_array(call, body):
    """tritonclient sends an empty body; the answer is an array."""
    models = (await call("POST", "/v2/repository/index", body)).json
    assert models[-1] == {
        "name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "its file is cut short",
    }  # fmt: skip
    assert len((await call("POST", "/v2/repository/index", {"ready": True})).json) == 2
    assert (await call("POST", "/v2/repository/index", {"ready": 1})).status == 400


async def test_models_are_listed_once(call):
    """/v2/models and /v1/models list names, not versions."""
    assert (await call("GET", "/v2/models")).json == {"models": ["echo", "broken"]}
    assert (await call("GET", "/v1/models")).json == {"models": ["echo", "broken"]}


async def test_load_and_unload_answer_200_without_a_body(call):
    """The clients take an empty 200; parameters arrive, files decoded from base64."""
    file = base64.b64encode(b"\0onnx").decode()
    answers = [
        await call("POST", "/v2/repository/models/m/load", b""),
        await call("POST", "/v2/repository/models/m/load", {"parameters": {"config": "{}", "file:1/model.onnx": file}}),
        await call("POST", "/v2/repository/models/m/unload", {"parameters": {"unload_dependents": False}}),
    ]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"")] * 3
    assert call.inference.loads == [
        ("m", {}), ("m", {"config": "{}", "file:1/model.onnx": b"\0onnx"}), ("m", {"unload_dependents": False}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "parameters", [[], {"a": {}}, {"a": None}, {"a": 1.5}, {"a": 2**63}, {"file:1/m": "%"}, {"file:1/m": 1}]
)
async def test_malformed_load_parameters_are_refused(call, parameters):
    """Parameters are flat; a file is base64."""
    answer = await call("POST", "/v2/repository/models/m/load", {"parameters": parameters})
    assert answer.status == 400
    assert call.inference.loads == []


async def test_repository_control_can_be_switched_off(call_with):
    """Load and unload are 403 then, the index is not."""
    call = await call_with(RestOptions(control=ControlPolicy(control=False)))
    for action in ("load", "unload"):
        answer = await call("POST", f"/v2/repository/models/m/{action}", b"")
        assert (answer.status, answer.json["code"]) == (403, "PERMISSION_DENIED")
    assert (await call("POST", "/v2/repository/index", b"")).status == 200


async def test_uploads_can_be_refused(call_with):
    """Without uploads a load that brings files or configuration is 403, a plain one is not."""
    call = await call_with(RestOptions(control=ControlPolicy(uploads=False)))
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": ""}):
        assert (await call("POST", "/v2/repository/models/m/load", {"parameters": parameters})).status == 403
    assert (await call("POST", "/v2/repository/models/m/load", {"parameters": {"other": 1}})).status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/v2", "GET, HEAD"), ("GET", "/v2/models/echo/infer", "POST"), ("PUT", "/v2/models/echo", "GET, HEAD"),
     ("DELETE", "/v2/health/ready", "GET, HEAD"), ("GET", "/v2/repository/index", "POST"),
     ("GET", "/v1/models/echo:predict", "POST"), ("POST", "/v1/models/echo", "GET, HEAD"),
      ("PUT", "/metrics", "GET, HEAD"),
     ("DELETE", "/v2/logging", "GET, POST, HEAD"), ("OPTIONS", "/v2/models/stats", "GET, HEAD")],
)  # fmt: skip
async def test_a_wrong_method_is_405_and_says_which_are_right(call, method, path, allow):
    """405 has Allow (RFC 9110) and the error form of every other error."""
    answer = await call(method, path)
    assert (answer.status, answer.headers["Allow"]) == (405, allow)
    assert answer.json["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "path",
    ["/nope", "/v2/nope", "/v2/models/", "/v2/models/echo/nope", "/v2/models/echo/versions/x/infer", "/v3",
     "/v2/models//infer",
     "/v2/models/echo/versions/1/infer/more", "/v1", "/v1/models/echo:nope/x", "/v2/models/%FF/infer", "//v2",
      "/v2/health",
     "/v2/models/echo/versions/%D9%A3", "/" + "a/" * 500, "/%00"],
)  # fmt: skip
async def test_an_unknown_path_is_404_with_a_json_error(call, path):
    """Also without a fallback, and for paths that are nearly right."""
    answer = await call("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/systemsharedmemory/status"), ("POST", "/v2/cudasharedmemory/region/r/register"),
     ("POST", "/v2/logging"),
     ("GET", "/v2/trace/setting"), ("POST", "/v2/models/m/trace/setting"), ("POST", "/v2/models/m/generate"),
     ("POST", "/v2/repository/other/index"), ("POST", "/v1/models/m:explain")],
)  # fmt: skip
async def test_extensions_that_are_not_served_are_501(call, method, path):
    """Triton's other extensions are known and refused."""
    answer = await call(method, path, b"{}" if method == "POST" else None)
    assert (answer.status, answer.json["code"]) == (501, "UNIMPLEMENTED")


@pytest.mark.parametrize("where", ["inputs", "outputs"])
async def test_tensors_in_shared_memory_are_501_where_there_is_none(call, where):
    """As at the gateway."""
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    document = {
        "inputs": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "parameters": shared}]},
        "outputs": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}],
            "outputs": [{"name": "y", "parameters": shared}],
        },
    }[where]
    answer = await call("POST", "/v2/models/m/infer", json.dumps(document).encode())
    assert (answer.status, answer.json["code"]) == (501, "UNIMPLEMENTED")


async def test_head_is_get_without_a_body(call):
    """HEAD is answered wherever GET is."""
    answer = await call("HEAD", "/v2")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "name", "model", "version"),
    [(b"/v2/models/a%2Fb/infer", "infer", "a/b", ""), (b"/v2/models/a%3Ab/versions/03", "model_metadata", "a:b", "03"),
     (b"/v2/models/stats", "statistics", "", ""), (b"/v2/models/stats/ready", "model_ready", "stats", ""),
     (b"/v2/models/versions/versions/1/infer", "infer", "versions", "1"),
      (b"/v1/models/a:b:predict", "v1_predict", "a:b", ""),
     (b"/v1/models/a%3Apredict", "v1_predict", "a", ""), (b"/v2/models/%E2%82%AC", "model_metadata", "€", ""),
     (b"/v2/models/..%2F..%2Fetc/infer", "infer", "../../etc", ""), (b"/v2/models/infer/infer", "infer", "infer", "")],
)  # fmt: skip
def test_paths_lead_to_models(path, name, model, version):
    """Segments are unquoted after the path was cut, so any name fits into one segment."""
    route = match(path)
    assert (route.name, route.model, route.version) == (name, model, version)


async def test_the_root_says_alive(call):
    """kserve's client asks GET / for {"status": "alive"}."""
    assert (await call("GET", "/")).json == {"status": "alive"}


async def test_the_fallback_has_the_page_and_every_path_outside_the_protocol(call_with):
    """A browser gets the fallback's page at /, other callers the status; unknown /v2 paths stay OIP errors."""

    async def page(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-from", b"fallback")]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    call = await call_with(fallback=page)
    browser = {"Accept": "text/html,application/xhtml+xml"}
    assert (await call("GET", "/", headers=browser)).headers["x-from"] == "fallback"
    assert (await call("GET", "/")).json == {"status": "alive"}
    assert (await call("POST", "/")).headers["x-from"] == "fallback"
    assert (await call("GET", "/docs")).body == b"/docs"
    assert (await call("GET", "/v2/nope")).json["code"] == "NOT_FOUND"
    assert (await call("GET", "/v2nope")).headers["x-from"] == "fallback"
    assert b"crossover_requests" in (await call("GET", "/metrics")).body


async def test_metrics_count_requests_and_errors_by_route_and_model(call_with):
    """A made-up model name makes no label of its own; in flight returns to zero."""
    call = await call_with()
    good = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    for _ in range(3):
        await call.infer(good)
    await call.infer({**good, "data": [1]})
    await call.infer(good, model="made-up")
    text = (await call("GET", "/metrics")).body.decode()
    assert 'crossover_requests_total{model="echo",route="infer",wire="rest"} 4.0' in text
    assert 'crossover_requests_total{model="",route="infer",wire="rest"} 1.0' in text
    assert 'crossover_errors_total{code="INVALID_ARGUMENT",model="echo",route="infer",wire="rest"} 1.0' in text
    assert 'crossover_request_duration_seconds_bucket{le="+Inf",model="echo",route="infer",wire="rest"} 4.0' in text
    assert 'crossover_requests_in_flight{wire="rest"} 0.0' in text
    assert "made-up" not in text
