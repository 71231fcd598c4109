"""An etcd of its own with two keys in it, both wires at one port: python serve.py 127.0.0.1:2379

`key` holds 100 bytes, `large` 100,000. etcd is Debian's etcd-server; its data go to a temporary folder.
"""

import base64
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KEYS = {"key": 100, "large": 100_000}


def put(origin: str, key: str, value: bytes) -> None:
    body = {name: base64.b64encode(data).decode() for name, data in (("key", key.encode()), ("value", value))}
    request = urllib.request.Request(f"{origin}/v3/kv/put", json.dumps(body).encode())
    urllib.request.urlopen(request, timeout=5).close()


def fill(origin: str) -> None:
    """Put the keys as soon as it answers."""
    for _ in range(200):
        try:
            for key, size in KEYS.items():
                put(origin, key, (key.encode() * size)[:size])
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit("etcd did not answer within 20 s")


def free_port(host: str) -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def started(folder: str, listen: str, peer: str) -> subprocess.Popen:
    """An etcd over the data in `folder`."""
    origin = f"http://{listen}"
    return subprocess.Popen(
        [
            "etcd", "--data-dir", folder, "--listen-client-urls", origin, "--advertise-client-urls", origin,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
            "--log-level", "error",
        ]
    )  # fmt: skip


def main() -> None:
    listen = sys.argv[1]
    host = listen.rpartition(":")[0]
    peer, aside = f"http://{host}:{free_port(host)}", f"{host}:{free_port(host)}"
    with tempfile.TemporaryDirectory() as folder:
        filling = started(folder, aside, peer)  # elsewhere: who finds the port open finds the keys too
        fill(f"http://{aside}")
        filling.terminate()
        filling.wait()
        service = started(folder, listen, peer)
        signal.signal(signal.SIGTERM, lambda *_: service.terminate())
        service.wait()


if __name__ == "__main__":
    main()
