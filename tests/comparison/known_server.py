"""A REST service whose truth is known: how long it takes, when it stalls, which answer is wrong.

    python known_server.py SERVICE_US STALL_AT STALL_MS WRONG_AT

It answers any POST with the tensor that it was sent, named y. Requests are served one at a time. It prints its port.
"""

import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.messages import InferResponse
from crossover.protocol.tensors import Tensor

service_us, stall_at, stall_ms, wrong_at = map(int, sys.argv[1:5])


def answer(head, body):
    length = binary_codec.header_length(head.get("inference-header-content-length"), len(body))
    request, _ = binary_codec.decode_request(body, length, "identity")
    x = request.inputs[0]
    raw = bytes(x.raw)
    if served == wrong_at:
        raw = raw[:-1] + bytes([raw[-1] ^ 1])
    y = Tensor.from_raw("y", x.datatype.name, x.shape, raw)
    encoded = binary_codec.encode_response(InferResponse("identity", "1", [y]), ReplyForm(default=True))
    text = f"HTTP/1.1 200 OK\r\nContent-Length: {encoded.size}\r\n"
    text += f"Inference-Header-Content-Length: {encoded.header_length}\r\n\r\n"
    return text.encode() + b"".join(encoded.parts)


def read_request(stream):
    lines = []
    while (line := stream.readline()) not in {b"\r\n", b""}:
        lines.append(line.decode().strip())
    if not lines:
        return None
    head = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    return head, stream.read(int(head["content-length"]))


served = 0
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as stream:
            while request := read_request(stream):
                served += 1
                until = time.perf_counter_ns() + service_us * 1000
                reply = answer(*request)
                if served == stall_at:
                    time.sleep(stall_ms / 1000)
                while time.perf_counter_ns() < until:
                    pass
                connection.sendall(reply)
