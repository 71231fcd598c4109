"""A TCP proxy whose connections can be frozen: they stay open and carry nothing, while new ones work.

That is what a dropped NAT entry, a lost host behind an address and a stuck middlebox look like to a client.
"""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """In front of a loopback port, on a port of its own; all in one thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._piece, self._pause = 1 << 18, 0.0
        self._thread = threading.Thread(target=self._run)

    def trickle(self) -> None:
        """From now on read no more than 4 KB of each connection twenty times a second, as a slow reader does."""
        self._piece, self._pause = 4096, 0.05

    def freeze(self) -> int:
        """Carry nothing more on the connections that exist now; how many."""
        with self._lock:
            for connection in self._others:
                with suppress(KeyError):
                    self._selector.unregister(connection)
            return len(self._others) // 2

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        for connection in (*self._others, self._listener):
            connection.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._selector.get_map():
                        assert isinstance(key.fileobj, socket.socket)
                        self._carry(key.fileobj)
            if self._pause:
                self._stopping.wait(self._pause)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 1)
        except OSError:
            near.close()
            return
        self._others |= {near: far, far: near}
        for connection in (near, far):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ)

    def _carry(self, connection: socket.socket) -> None:
        other = self._others[connection]
        try:
            data = connection.recv(self._piece)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for one in (connection, other):
            with suppress(KeyError):
                self._selector.unregister(one)
            self._others.pop(one, None)
            one.close()
