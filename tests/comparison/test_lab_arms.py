"""The lab's own arms answer rightly through real services, and their encodings lose nothing."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from crossover.comparison.design import arms, payloads, schedule
from crossover.comparison.design import outcomes as out
from crossover.comparison.lab import wires as lab_wires
from crossover.comparison.load.generator import Generator
from crossover.comparison.options import ROOT
from crossover.comparison.services.views import ours
from crossover.protocol import wires
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.stack.services import free_ports

DTYPES = some.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_])
ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        arrays.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else None,
    )
)


@pytest.mark.parametrize("line", [lab_wires.STDLIB, lab_wires.BASE64], ids=lambda line: line.name)
@given(array=ARRAYS, flag=some.integers(0, 10**6))
def test_the_labs_codecs_lose_nothing(line, array, flag):
    """Request and reply come back bit for bit, with parameters, shape and datatype."""
    codec, tensor = line.load(), Tensor.from_array("x", array)
    assert codec.media_type == line.media_type
    body = b"".join(codec.encode_request(InferRequest("m", [tensor], parameters={"p": flag})).parts)
    request, form = codec.decode_request(body, None, "m")
    assert (request.model_name, request.parameters["p"]) == ("m", flag)
    reply = codec.encode_response(InferResponse("m", "7", [tensor]), form)
    response = codec.decode_response(b"".join(reply.parts), None)
    assert response.model_version == "7"
    for found in (request.inputs[0], response.outputs[0]):
        assert (found.name, found.shape, found.datatype) == ("x", tensor.shape, tensor.datatype)
        assert bytes(found.raw) == bytes(tensor.raw)


def test_the_lab_adds_nothing_to_the_registry_by_being_imported():
    """Only processes that register the lab's wires have them; users' services and their tests do not."""
    assert not set(lab_wires.LAB_WIRES) & set(wires.WIRES)


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    view = ours("end-to-end", ROOT / "models", tmp_path_factory.mktemp("lab") / "services.log", seed=3)
    x = np.random.default_rng(1).standard_normal((1, 1000)).astype(np.float32)
    view.load(0, [InferRequest("identity", [Tensor.from_array("x", x)])], 0)
    yield view
    view.stop()


@pytest.fixture(scope="module")
def generator():
    with Generator() as generator:
        yield generator


def slow_where_optional(name: str):
    """Arms that need packages of their own are `make test-all`'s, which installs them."""
    return pytest.param(name, marks=pytest.mark.slow) if name in lab_wires.NEEDS else name


@pytest.mark.parametrize("name", [slow_where_optional(name) for name, arm in arms.ARMS.items() if arm.role == "arm"])
def test_every_arm_answers_bit_for_bit(view, generator, name):
    """Each arm of the table carries a tensor through gateway and model server and back unchanged."""
    if lacks := lab_wires.missing(arms.ARMS[name].upstream):
        pytest.skip(lacks)
    record = generator.run(view.work(0, arms.ARMS[name], schedule.closed(6, 1, 0), 2))
    assert (record.requests[:, out.OUTCOME] == out.OK).all(), record.complaint


def test_an_arm_that_is_not_installed_for_is_refused(monkeypatch):
    """One sentence that says what is missing and how it is installed; every such arm is in the table."""
    monkeypatch.setattr(lab_wires, "find_spec", lambda package: None)
    assert set(lab_wires.NEEDS) <= set(arms.ARMS)
    with pytest.raises(arms.UnknownArmError, match=r"'rest-http3' needs aioquic and pyqwest, .* requirements/arms.txt"):
        arms.chosen(["grpc", "rest-http3"])


def test_a_busy_wait_is_taken_off_the_request(view, generator):
    """The control's parameter never reaches the engine, and its wait is in every answer's time."""
    view.load(1, [InferRequest("identity", [Tensor.from_array("x", np.zeros((1, 4), np.float32))])], 20_000_000)
    record = generator.run(view.work(1, arms.ARMS["control"], schedule.closed(4, 1, 0), 1))
    assert (record.requests[:, out.OUTCOME] == out.OK).all(), record.complaint
    assert (record.requests[:, out.DONE] - record.requests[:, out.SENT] >= 20_000_000).all()
    assert payloads.BUSY == "lab_busy_us"


def test_a_cell_that_is_loaded_again_sends_its_new_requests(view, generator):
    """What was encoded for a cell's earlier requests is forgotten with them."""
    for size in (10, 20):
        x = np.random.default_rng(size).standard_normal((1, size)).astype(np.float32)
        view.load(1, [InferRequest("identity", [Tensor.from_array("x", x)])], 0)
        record = generator.run(view.work(1, arms.ARMS["rest-binary"], schedule.closed(5, 1, 0), 1))
        assert (record.requests[:, out.OUTCOME] == out.OK).all(), record.complaint


@pytest.mark.slow
@pytest.mark.parametrize(("connect", "version"), [("connect_http2", "2"), ("connect_http3", "3")])
async def test_each_version_of_http_is_the_one_it_is_called(connect, version, tmp_path, monkeypatch):
    """What the server is asked over HTTP/2 or HTTP/3 comes so: neither side falls back in silence."""
    if lacks := lab_wires.missing("rest-http3"):
        pytest.skip(lacks)
    from crossover.comparison.lab import http3

    async def app(scope, receive, send):
        if scope["type"] == "http":
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["http_version"].encode()})

    (port,) = free_ports(1)
    monkeypatch.setenv(lab_wires.SOCKETS, str(tmp_path))
    async with http3.served(app, "127.0.0.1", port):
        target = wires.Target(rest=f"http://127.0.0.1:{port}", options={lab_wires.QUIC_PORT: str(port)})
        client = getattr(http3, connect)(target)
        for _ in range(200):  # until it listens
            try:
                status, body = await client.post(f"https://127.0.0.1:{port}/", {}, b"x", 20)
                break
            except ConnectionError:
                await asyncio.sleep(0.05)
        await client.close()
    assert (status, body) == (200, version.encode())
