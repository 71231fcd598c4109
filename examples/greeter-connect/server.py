"""The greeter by connectrpc on hypercorn: one port that speaks gRPC, gRPC-Web and the Connect protocol.

python server.py --listen 127.0.0.1:50054
"""

import argparse
import asyncio
import sys
from pathlib import Path

from connectrpc.compat import google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint
from hypercorn.asyncio import serve
from hypercorn.config import Config

GREETER = Path(__file__).resolve().parents[1] / "greeter"
sys.path.insert(0, str(GREETER))
import grpc  # noqa: E402
from greeting import hello  # noqa: E402

messages = grpc.protos("greeter.proto")
SERVICE = "greeter.v1.Greeter"
SAY_HELLO = MethodInfo(
    name="SayHello",
    service_name=SERVICE,
    input=messages.HelloRequest,
    output=messages.HelloReply,
    idempotency_level=IdempotencyLevel.UNKNOWN,
    stream_type=StreamType.UNARY,
)


class Greeter:
    """Answers calls."""

    async def say_hello(self, request, _):
        """Say hello."""
        message, letters, photo_sum = hello(request.name, request.times, request.photo)
        return messages.HelloReply(message=message, letters_in_name=letters, photo_sum=photo_sum)


class Application(ConnectASGIApplication):
    """What the library's plugin generates for the service."""

    path = f"/{SERVICE}"

    def __init__(self) -> None:
        super().__init__(
            service=Greeter(),
            endpoints=lambda service: {f"/{SERVICE}/SayHello": Endpoint.unary(SAY_HELLO, service.say_hello)},
            codecs=google_protobuf_codecs(),
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:50054", help="HOST:PORT")
    config = Config()
    config.bind = [parser.parse_args().listen]
    config.loglevel = "WARNING"
    config.keep_alive_max_requests = 10**9  # the default ends a connection every thousand requests
    asyncio.run(serve(Application(), config))


if __name__ == "__main__":
    main()
