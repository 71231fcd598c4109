"""The load of `python -m comparison pair` by Locust: the same rows, over REST and over gRPC, each by half of the users.

Locust's users wait for their answer before they ask again (closed loop), so that what a slow answer delays is not seen: compare
with `pair --closed`, or set a pace below the capacity.

    locust -f locustfile.py --headless -u 16 -r 16 -t 10s --host http://127.0.0.1:8000
"""

import json
import os
import time
from pathlib import Path

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, User, constant_throughput, task

grpc.experimental.gevent.init_gevent()
GREETER = Path(__file__).parent.parent / "greeter"
ROWS = [json.loads(line) for line in (GREETER / "rows.jsonl").read_text("utf-8").splitlines()]
PACE = constant_throughput(float(os.environ.get("RATE_OF_A_USER", "12.5")))
os.chdir(GREETER)  # protos_and_services looks for the file from here
messages, services = grpc.protos_and_services("greeter.proto")


def greeting(row: dict) -> str:
    return " ".join([f"Hello, {row['name']}!"] * max(1, row["times"]))


class Rest(FastHttpUser):
    """A caller with a connection that stays."""

    wait_time = PACE
    asked = 0

    @task
    def hello(self) -> None:
        row = ROWS[self.asked % len(ROWS)]
        self.asked += 1
        with self.rest("POST", "/v1/hello", json=row, name="rest") as reply:
            if reply.js is None or reply.js.get("message") != greeting(row):
                reply.failure("another answer")


class Grpc(User):
    """Likewise over a channel of its own."""

    wait_time = PACE
    asked = 0

    def on_start(self) -> None:
        alone = [("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(os.environ.get("GRPC", "127.0.0.1:50051"), options=alone)
        self.stub = services.GreeterStub(self.channel)

    def on_stop(self) -> None:
        self.channel.close()

    @task
    def hello(self) -> None:
        row = ROWS[self.asked % len(ROWS)]
        self.asked += 1
        began, failed, length = time.perf_counter(), None, 0
        try:
            reply = self.stub.SayHello(messages.HelloRequest(name=row["name"], times=row["times"]), timeout=15)
            length = reply.ByteSize()
            if reply.message != greeting(row):
                failed = ValueError("another answer")
        except grpc.RpcError as error:
            failed = error
        self.environment.events.request.fire(
            request_type="gRPC", name="grpc", response_time=1000 * (time.perf_counter() - began), response_length=length,
            exception=failed, context={},
        )  # fmt: skip
