"""Forks workers: a process that has imported what a worker needs and does nothing else, so that a new one takes no time.

`python -m crossover.model_server.isolation.nursery FD` takes requests on the socket FD: to fork (with the worker's file
descriptors), and to tell how a worker ended. It ends with its server, whose end closes the socket; and workers end with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
from typing import Any

from crossover.model_server.isolation import channel, worker

_PR_SET_PDEATHSIG = 1
_MOST_REMEMBERED = 1024
FDS = 4
"""File descriptors of a worker: socket, inputs, outputs, stop pipe."""


def main(control: socket.socket) -> None:
    """Serve until the server is gone."""
    ended: dict[int, int] = {}
    wake, signalled = os.pipe()
    os.set_blocking(signalled, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(signalled)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()
    while True:
        ready, _, _ = select.select([control.fileno(), wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
        _reap(ended)
        if control.fileno() not in ready:
            continue
        try:
            request, fds = _request(control)
            if request == "fork":
                channel.send(control, _fork(control, fds))
            else:
                channel.send(control, ended.pop(request, None))
        except (EOFError, OSError):
            return


def _request(control: socket.socket) -> tuple[Any, list[int]]:
    """A request, with the file descriptors that came beside its first byte."""
    first, fds, _, _ = socket.recv_fds(control, 1, FDS)
    if not first:
        raise EOFError
    return channel.receive(control), fds


def _reap(ended: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if len(ended) >= _MOST_REMEMBERED:
            del ended[next(iter(ended))]
        ended[pid] = os.waitstatus_to_exitcode(status)


def _fork(control: socket.socket, fds: list[int]) -> int:
    pid = os.fork()
    if pid:
        for fd in fds:
            os.close(fd)
        return pid
    code = 1
    try:
        nursery = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == nursery:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            worker.serve(socket.socket(fileno=fds[0]), fds[1], fds[2], fds[3])
            code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(socket.socket(fileno=int(sys.argv[1])))
