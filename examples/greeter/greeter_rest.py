"""The greeter over REST, by FastAPI as its documentation shows it; pydantic models with proto3's JSON names.

python greeter_rest.py --listen 127.0.0.1:8000 [--tls-cert FILE --tls-key FILE]
"""

import argparse
import base64
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from greeting import hello
from pydantic import BaseModel

app = FastAPI()


class HelloRequest(BaseModel):
    """What is asked."""

    name: str
    times: int = 0
    photo: str = ""


class HelloReply(BaseModel):
    """What is answered."""

    message: str
    letters_in_name: int
    photo_sum: str


@app.post("/v1/hello")
async def say_hello(request: HelloRequest) -> HelloReply:
    """Say hello."""
    message, letters, photo_sum = hello(request.name, request.times, base64.b64decode(request.photo))
    return HelloReply(message=message, letters_in_name=letters, photo_sum=base64.b64encode(photo_sum).decode())


@app.get("/v1/hello/{name}")
async def hello_to(name: str) -> HelloReply:
    """The same without a body."""
    return await say_hello(HelloRequest(name=name))


@app.post("/v1/countdown")
async def countdown(request: HelloRequest, asked: Request) -> StreamingResponse:
    """A stream of messages: lines of JSON, or server-sent events where those are accepted."""
    is_events = "text/event-stream" in asked.headers.get("accept", "")
    head, end, kind = ("data: ", "\n\n", "text/event-stream") if is_events else ("", "\n", "application/x-ndjson")

    async def messages() -> AsyncIterator[str]:
        for left in range(request.times, 0, -1):
            reply = HelloReply(message=f"{left}, {request.name}", letters_in_name=0, photo_sum="")
            yield f"{head}{reply.model_dump_json()}{end}"

    return StreamingResponse(messages(), media_type=kind)


@app.get("/health")
async def ready() -> dict[str, bool]:
    """Whether requests are answered."""
    return {"ready": True}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:8000", help="HOST:PORT or unix:PATH")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    given = parser.parse_args()
    where = (
        {"uds": given.listen[5:]}
        if given.listen.startswith("unix:")
        else dict(zip(("host", "port"), _host_and_port(given.listen), strict=True))
    )
    secret = {"ssl_certfile": str(given.tls_cert), "ssl_keyfile": str(given.tls_key)} if given.tls_cert else {}
    uvicorn.run(app, log_level="warning", access_log=False, **where, **secret)


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    sys.exit(main())
