"""Ray Serve with the project's own configuration file: both wires through Ray's proxy, errors, streams, one to three replicas.

`make ray-test` makes the environment that has Ray, and runs it (about two minutes).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml

from crossover.clients import connect
from crossover.protocol.errors import Code, InferenceError
from crossover.protos import inference as pb
from crossover.stack.services import free_ports

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / ".venv-ray" / "bin" / "python"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def reason() -> str:
    """Why it cannot be tried here; empty where it can."""
    if not PYTHON.exists():
        return "Ray has an environment of its own, .venv-ray: make ray-test"
    found = subprocess.run([PYTHON, "-c", "import ray.serve"], capture_output=True, check=False, timeout=120)
    return "" if found.returncode == 0 else ".venv-ray has no Ray Serve: make ray-test"


if reason():
    pytestmark.append(pytest.mark.skip(reason=reason()))

WIRES = ("grpc", "grpc-lean", "grpc-stream", "rest", "rest-binary", "rest-protobuf")
ROWS = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 64)
QUICKLY = {
    "target_ongoing_requests": 1, "upscale_delay_s": 1, "downscale_delay_s": 2, "metrics_interval_s": 0.5,
    "look_back_period_s": 2,
}  # fmt: skip


class Cluster:
    """A cluster on two CPUs, whose replicas take half of one, so that three fit; and the addresses of its proxy."""

    def __init__(self, folder: Path) -> None:
        rest, self.grpc_port = free_ports(2)
        self.rest_port = rest
        configuration = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
        configuration["http_options"] = {"host": "127.0.0.1", "port": rest}
        configuration["grpc_options"]["port"] = self.grpc_port
        (deployment,) = configuration["applications"][0]["deployments"]
        deployment["ray_actor_options"]["num_cpus"] = 0.5
        deployment["autoscaling_config"] |= QUICKLY
        file = folder / "serve.yaml"
        file.write_text(yaml.safe_dump(configuration))
        self.told: list[dict] = []
        self.folder = Path("/tmp") / f"crossover-ray-{os.getpid()}"  # a socket's path has a bound of 107 characters
        self.log = (folder / "log").open("w+")
        environment = {
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        self.process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("ray_cluster.py"), file, self.folder], stdout=subprocess.PIPE, stderr=self.log,
            text=True, env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.startswith("{"):
                self.told.append(json.loads(line)["crossover"] if '"crossover"' in line else {})

    @property
    def running(self) -> int:
        """Replicas that answer."""
        return self.told[-1].get("replicas", {}).get("RUNNING", 0) if self.told else 0

    def until(self, count: int, seconds: float) -> None:
        """Wait until `count` replicas answer."""
        until = time.monotonic() + seconds
        while self.running != count:
            assert self.process.poll() is None, self.complaint()
            assert time.monotonic() < until, (self.told[-3:], self.complaint())
            time.sleep(0.1)

    def complaint(self) -> str:
        self.log.seek(0)
        return self.log.read()[-3000:]

    def client(self, wire: str):
        return connect(wire, grpc=f"127.0.0.1:{self.grpc_port}", rest=f"http://127.0.0.1:{self.rest_port}", timeout=30)

    def stop(self) -> None:
        """Everything ends within a few seconds after SIGTERM, or is killed; nothing stays."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        until = time.monotonic() + 20
        while (left := self._left()) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
        self.process.wait(10)
        self.reader.join(10)
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not left

    def _left(self) -> list[int]:
        """Processes of this cluster that are there still: its session's, and those that name its folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                pid = int(entry.name)
                command = (entry / "cmdline").read_bytes()  # of one that has ended: empty
                if command and (os.getsid(pid) == self.process.pid or str(self.folder).encode() in command):
                    found.append(pid)
            except (ValueError, OSError):
                continue
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("ray"))
    try:
        started.until(1, 180)
        yield started
    finally:
        started.stop()


@pytest.mark.parametrize("wire", WIRES)
async def test_every_wire_answers_through_the_proxy(cluster, wire):
    """A model's answer is the same over each wire, by Ray's HTTP and gRPC ingress."""
    async with cluster.client(wire) as client, connect("inprocess") as here:
        answer = await client.infer("digits", {"x": ROWS})
        expected = await here.infer("digits", {"x": ROWS})
        assert set(answer) == set(expected)
        for name in expected:
            assert np.array_equal(answer[name], expected[name])
        assert await client.metadata("digits") == await here.metadata("digits")


REFUSED = {
    "unknown model": ("nope", {"x": ROWS}, Code.NOT_FOUND),
    "wrong shape": ("digits", {"x": ROWS[:, :10]}, Code.INVALID_ARGUMENT),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("wire", WIRES)
async def test_errors_keep_code_and_text(cluster, wire, case):
    """What the engine refuses arrives with the code and the sentence that it has without Ray, on every wire."""
    model, inputs, code = REFUSED[case]
    async with cluster.client(wire) as client, connect("inprocess") as here:
        with pytest.raises(InferenceError) as through_ray:
            await client.infer(model, inputs)
        with pytest.raises(InferenceError) as without:
            await here.infer(model, inputs)
    assert through_ray.value.code is without.value.code is code
    assert through_ray.value.message == without.value.message


def rest(cluster, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", cluster.rest_port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.getheaders(), reply.read()
    finally:
        connection.close()


def test_rest_statuses_and_fields(cluster):
    """REST through Ray has our statuses and fields, one request id, and refuses a host that is not its own."""
    status, fields, body = rest(cluster, "POST", "/v2/models/digits/infer", "{}", {"X-Request-Id": "abc"})
    assert status == 400 and json.loads(body)["code"] == "INVALID_ARGUMENT"
    assert [value for name, value in fields if name.lower() == "x-request-id"] == ["abc"]
    assert ("x-content-type-options", "nosniff") in fields
    assert rest(cluster, "GET", "/nowhere")[0] == 404
    assert rest(cluster, "DELETE", "/v2/models/digits")[0] == 405
    assert rest(cluster, "GET", "/v2", headers={"Host": "evil.example"})[0] == 421


def test_a_load_would_reach_one_replica(cluster):
    """Load and unload are UNIMPLEMENTED on both wires, and say what replicas do instead."""
    status, _, body = rest(cluster, "POST", "/v2/repository/models/digits/load", "{}")
    assert status == 501 and "follow the repository's files" in json.loads(body)["error"]
    with grpc.insecure_channel(f"127.0.0.1:{cluster.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{pb.SERVICE}/RepositoryModelUnload", pb.RepositoryModelUnloadRequest.SerializeToString
        )
        with pytest.raises(grpc.RpcError, match="follow the repository's files") as refused:
            call(pb.RepositoryModelUnloadRequest(model_name="digits"), timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_reaches_the_replica(cluster):
    """The client's deadline ends the call, on both wires; the replica answers others afterwards."""
    channel = grpc.insecure_channel(f"127.0.0.1:{cluster.grpc_port}")
    call = channel.unary_unary(
        f"/{pb.SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    with pytest.raises(grpc.RpcError) as ended:
        call(work(100_000), timeout=0.3)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    slow = json.dumps({
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
            {"name": "turns", "datatype": "INT64", "shape": [1], "data": [100_000]},
        ]
    })  # fmt: skip
    status, _, body = rest(cluster, "POST", "/v2/models/work/infer", slow, {"Inference-Timeout-Ms": "300"})
    assert (status, json.loads(body)["code"]) == (504, "DEADLINE_EXCEEDED")
    call(work(1), timeout=30)
    channel.close()


def work(turns: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="work")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 16]).contents.fp32_contents.extend([0.5] * 16)
    request.inputs.add(name="turns", datatype="INT64", shape=[1]).contents.int64_contents.append(turns)
    return request


def test_a_stream_of_many(cluster):
    """ModelStreamInfer answers in order, an error in its place, and ends when the client does."""
    channel = grpc.insecure_channel(f"127.0.0.1:{cluster.grpc_port}")
    call = channel.stream_stream(
        f"/{pb.SERVICE}/ModelStreamInfer",
        pb.ModelInferRequest.SerializeToString,
        pb.ModelStreamInferResponse.FromString,
    )
    requests = [work(1) for _ in range(20)]
    for number, request in enumerate(requests):
        request.id = str(number)
    requests[7].model_name = "nope"
    replies = list(call(iter(requests), timeout=60))
    assert [reply.infer_response.id for reply in replies] == [str(number) for number in range(20)]
    assert [number for number, reply in enumerate(replies) if reply.error_message] == [7]
    assert "nope" in replies[7].error_message
    channel.close()


async def test_replicas_follow_the_load(cluster):
    """Six callers on both wires: one replica becomes three and one again, and no call fails on the way.

    By `grpc-lean`, which asks a silent connection by PING: grpcio's clients ask by a call, and that a proxy which shares two
    CPUs with starting replicas may not answer within a second.
    """
    await asyncio.to_thread(cluster.until, 1, 60)
    ended = time.monotonic() + 120
    calls = [0]

    async def caller(wire: str) -> None:
        async with cluster.client(wire) as client:
            while time.monotonic() < ended and not (cluster.running == 3 and calls[0] > 300):
                await client.infer("work", {"x": np.full((1, 16), 0.5, np.float32), "turns": np.array([100])})
                calls[0] += 1

    await asyncio.gather(*(caller(wire) for wire in ("grpc-lean", "rest-binary") for _ in range(3)))
    assert cluster.running == 3, cluster.told[-3:]
    await asyncio.to_thread(cluster.until, 1, 90)


BAD = {
    "{unknown: 1}": "'unknown' is no setting",
    "{model_server_http_port: 1}": "'model_server_http_port' is Ray's to set",
    "{model_workers: -1}": "model_workers is '-1'",
    "{model_control: explicit}": "a load reaches one replica of several",
}


@pytest.mark.parametrize("args", BAD)
def test_bad_settings_are_refused_before_anything_starts(args):
    """A setting that does not do is one sentence, when the application is built."""
    code = (
        "import sys, yaml\nfrom crossover.deploy.ray.serving import application\n"
        "try: application(yaml.safe_load(sys.argv[1]))\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run(
        [PYTHON, "-c", code, args], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert BAD[args] in done.stdout
    assert len(done.stdout.splitlines()) == 1
