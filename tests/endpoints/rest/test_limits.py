"""Size limits, content codings and broken connections."""

import asyncio
import gzip
import json
import zlib

import aiohttp
import pytest
import pytest_asyncio

from crossover.endpoints.rest import RestOptions
from crossover.endpoints.rest.compression import reply_coding
from tests.endpoints.rest.conftest import SKIPPED_HEADERS, Caller
from tests.endpoints.rest.service import served

GOOD = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
GOOD_BODY = json.dumps({"inputs": [GOOD]}).encode()
PATH = "/v2/models/echo/infer"
LIMIT = 100_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small():
    """A port with a small limit."""
    async with (
        served(RestOptions(max_message_bytes=LIMIT)) as service,
        aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=SKIPPED_HEADERS) as session,
    ):
        yield Caller(service, session)


def check_too_large(answer):
    assert (answer.status, answer.json["code"]) == (413, "TOO_LARGE")
    assert str(LIMIT) in answer.json["error"]
    assert "MAX_MESSAGE_BYTES" in answer.json["error"]


async def exchange(service, sent: bytes) -> bytes:
    """Everything that the service answers until it closes the connection or says no more for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(sent)
    answer = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65536), 1.0):
            answer += chunk
    except TimeoutError:
        pass
    writer.close()
    return answer


async def test_a_body_over_the_limit_is_413_before_it_is_read(small):
    """Content-Length alone is enough to refuse; no byte of the body is awaited."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n".encode()
    answer = await exchange(small.service, head)
    assert b" 413 " in answer.splitlines()[0]
    assert b"MAX_MESSAGE_BYTES" in answer


async def test_a_body_at_the_limit_is_read(small):
    """The limit itself is allowed; one byte more is not, and the connection works on."""
    assert (await small("POST", PATH, GOOD_BODY.ljust(LIMIT))).status == 200
    check_too_large(await small("POST", PATH, GOOD_BODY.ljust(LIMIT + 1)))
    assert (await small("POST", PATH, GOOD_BODY)).status == 200


async def test_a_chunked_body_is_counted_while_it_comes(small):
    """Without Content-Length the limit holds too."""

    async def chunks(count):
        for _ in range(count):
            yield b" " * 10_000
        yield GOOD_BODY

    check_too_large(await small("POST", PATH, chunks(20)))
    assert (await small("POST", PATH, chunks(3))).status == 200


@pytest.mark.parametrize(
    ("coding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
async def test_compressed_bodies_are_read(small, coding, squeeze):
    """gzip and deflate (zlib) are read; the length header counts uncompressed bytes."""
    headers = {"Content-Encoding": coding}
    assert (await small("POST", PATH, squeeze(GOOD_BODY), headers)).status == 200
    raw = json.dumps(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}]}
    )
    headers["Inference-Header-Content-Length"] = str(len(raw))
    assert (await small("POST", PATH, squeeze(raw.encode() + b"12345678"), headers)).status == 200


async def test_several_gzip_members_are_one_body(small):
    """RFC 1952 allows it."""
    body = gzip.compress(GOOD_BODY[:10]) + gzip.compress(GOOD_BODY[10:])
    assert (await small("POST", PATH, body, {"Content-Encoding": "gzip"})).status == 200


@pytest.mark.parametrize(("coding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_decompression_bomb_is_413(small, coding, squeeze):
    """The decompressed size counts against the limit, and no more than that is ever made."""
    body = squeeze(b" " * 90_000_000)
    assert len(body) < LIMIT
    check_too_large(await small("POST", PATH, body, {"Content-Encoding": coding}))
    check_too_large(await small("POST", PATH, gzip.compress(b" " * 60_000) * 2, {"Content-Encoding": "gzip"}))


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", b"not gzip"), ("gzip", gzip.compress(GOOD_BODY, mtime=0)[:-1]), ("gzip", gzip.compress(GOOD_BODY, mtime=0)[:9]),
     ("gzip", gzip.compress(GOOD_BODY, mtime=0) + b"more"), ("gzip", zlib.compress(GOOD_BODY)), ("deflate", b"\xff" * 20),
     ("deflate", zlib.compress(GOOD_BODY)[:-1]), ("deflate", zlib.compress(GOOD_BODY) + b"x"),
     ("gzip", gzip.compress(GOOD_BODY, mtime=0)[:-5] + b"\0\0\0\0\0")],
)  # fmt: skip
async def test_a_broken_compressed_body_is_400(small, coding, body):
    """Broken, cut short, or with something behind its end."""
    answer = await small("POST", PATH, body, {"Content-Encoding": coding})
    assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, deflate", "nonsense", "compress"])
async def test_an_unknown_coding_is_415_and_says_which_are_known(small, coding):
    """RFC 9110 15.5.16: Accept-Encoding in the answer."""
    answer = await small("POST", PATH, GOOD_BODY, {"Content-Encoding": coding})
    assert (answer.status, answer.json["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"


async def test_only_the_infer_reply_is_compressed(call):
    """Errors, metadata and small replies are never compressed; tritonclient's aiohttp client could not read them."""
    big = {"name": "x", "datatype": "FP32", "shape": [1000, 2], "data": [1.5] * 2000}
    asked = {"Accept-Encoding": "gzip"}
    answer = await call.infer(big, headers=asked)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["outputs"][0]["data"] == big["data"]
    answer = await call.infer(big, headers={"Accept-Encoding": "deflate"})
    assert json.loads(zlib.decompress(answer.body))["model_name"] == "echo"
    for quiet in (await call.infer(GOOD, headers=asked), await call("GET", "/v2/models/stats", headers=asked),
                  await call.infer(big, model="none", headers=asked), await call.infer(big)):  # fmt: skip
        assert "Content-Encoding" not in quiet.headers


async def test_compressed_binary_replies_count_uncompressed_json(call):
    """Inference-Header-Content-Length is the length of the JSON before compression."""
    import struct

    big = {"name": "x", "datatype": "FP32", "shape": [1000], "data": [1.5] * 1000}
    answer = await call.infer(big, parameters={"binary_data_output": True}, headers={"Accept-Encoding": "gzip"})
    body = gzip.decompress(answer.body)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 4000}
    assert body[length:] == struct.pack("<1000f", *big["data"])


@pytest.mark.parametrize(
    ("accept", "request_coding", "expected"),
    [
        ("gzip", None, "gzip"), ("deflate", None, "deflate"), ("gzip, deflate", None, "gzip"), ("", None, None),
        ("gzip;q=0.5, deflate;q=0.8", None, "deflate"), ("gzip;q=0", None, None), ("identity", None, None),
        ("gzip;q=0.5, identity", None, None), ("gzip, deflate, br", None, None), ("gzip, deflate, br", "gzip", "gzip"),
        ("deflate, gzip, br, zstd", None, None), ("br", None, None), ("br;q=0, gzip", None, "gzip"), ("*", None, None),
        ("*, identity;q=0", None, "gzip"), ("gzip;q=nonsense", None, None), ("GZip", None, "gzip"), (";,;", None, None),
        (None, "gzip", None),
    ],
)  # fmt: skip
def test_the_callers_quality_values_choose_the_coding(accept, request_coding, expected):
    """RFC 9110 12.5.3, and nothing for the list with br that libraries send unasked."""
    assert reply_coding(accept, request_coding) == expected


async def test_a_truncated_body_harms_nobody(call):
    """A client that closes before its body is complete gets nothing; the next request works, and no error is logged."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(GOOD_BODY) + 1}\r\n\r\n".encode()
    _, writer = await asyncio.open_connection("127.0.0.1", call.service.port)
    writer.write(head + GOOD_BODY)
    await writer.drain()
    writer.close()
    assert (await call("POST", PATH, GOOD_BODY)).status == 200
    assert len(call.inference.requests) == 1


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/x.1\r\n\r\n", b"\0\0\0\0", b"POST /v2 HTTP/1.1\r\ncontent-length: x\r\n\r\n",
     b"POST /v2 HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"GET /v2 HTTP/1.1\r\nbad header\r\n\r\n",
     b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_what_is_not_http_is_a_json_400(call, sent):
    """Also malformed HTTP is answered in the form of every other error."""
    answer = await exchange(call.service, sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "INVALID_ARGUMENT"
    assert (await call("POST", PATH, GOOD_BODY)).status == 200


async def test_expect_100_continue(small):
    """The body is asked for when it is wanted, and refused without it; the connection then closes."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    answer = await exchange(small.service, (head % len(GOOD_BODY)).encode() + GOOD_BODY)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    answer = await exchange(small.service, (head % (LIMIT + 1)).encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.0"])
async def test_a_request_that_asks_for_an_upgrade_is_answered_without_it(call, upgrade):
    """curl --http2 and Java's client ask for h2c; the body is read all the same, and the connection stays."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: {upgrade}\r\n"
        f"http2-settings: AAMAAABkAAQ\r\ncontent-length: {len(GOOD_BODY)}\r\n\r\n"
    ).encode()
    answer = await exchange(call.service, (head + GOOD_BODY) * 2 + b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    reader, writer = await asyncio.open_connection("127.0.0.1", call.service.port)
    for piece in (head[:40], head[40:], GOOD_BODY[:5], GOOD_BODY[5:]):
        writer.write(piece)
        await asyncio.sleep(0.01)
    assert b" 200 OK" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()


async def test_connect_is_refused(call):
    """The port is no proxy."""
    answer = await exchange(call.service, b"CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n")
    assert b" 400 " in answer.splitlines()[0]
