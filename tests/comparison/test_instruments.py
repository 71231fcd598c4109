"""The instruments count what happened: CPU in nanoseconds, bytes on sockets, wake-ups on time."""

import os
import select
import socket
import subprocess
import sys
import time

from crossover.comparison.load.timer import Timer
from crossover.comparison.machine import cpu, resident, sockets


def test_cpu_of_a_process_that_spins_is_counted():
    """A child that spins for 0.2 s of CPU time is seen to have used that, alone and in its parent's family."""
    spin = "import time, sys\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        counted = cpu.family_cpu_ns(os.getpid()) - cpu.process_cpu_ns(os.getpid())
        alone = cpu.process_cpu_ns(child.pid)
        child.communicate(b"")
    assert 0.2e9 <= alone < 0.4e9
    assert counted >= 0.2e9


def test_memory_and_machine_counters_move():
    """The peak resident set is that of a Python process at least, and the machine's counters go forward."""
    before = cpu.machine()
    time.sleep(0.05)
    assert cpu.peak_memory_bytes(os.getpid()) > 5_000_000
    assert cpu.machine().since(before).total_ns > 0


def test_pages_of_a_file_count_once_for_all_who_map_it(tmp_path):
    """Two children map the same 8 MB and fill 4 MB of their own each: together they have 8 more than the one, not 12."""
    path = tmp_path / "mapped"
    path.write_bytes(bytes(8 << 20))
    program = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'rb') as f: m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(m[::4096]); own = b'x' * (4 << 20); print(flush=True); sys.stdin.read()"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        assert all(child.stdout.readline() == b"\n" for child in started)
        one, both = (resident.memory_bytes(child.pid for child in some) for some in (started[:1], started))
    finally:
        for child in started:
            child.communicate(b"")
    assert one > (8 << 20) + (4 << 20)
    assert (4 << 20) < both - one < one - (8 << 20)


def test_cpu_time_counts_threads_and_children_that_have_ended():
    """A child whose work was done by a thread and by a child of its own, both gone, has used the time of both."""
    spin = "import time\ndef spin():\n while time.thread_time() < 0.1: pass\n"
    program = (
        f"import subprocess, sys, threading\n{spin}\n"
        "t = threading.Thread(target=spin); t.start(); t.join()\n"
        f"subprocess.run([sys.executable, '-c', {spin + 'spin()'!r}]); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"\n"
        alone, whole = cpu.whole_cpu_s(child.pid), cpu.family_whole_cpu_s(child.pid)
        child.communicate(b"")
    assert alone >= 0.1
    assert whole >= alone + 0.08


def test_bytes_over_a_socket_are_counted_exactly():
    """100 000 bytes one way and 5 the other are 100 005 bytes on the listening side's port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            before = sockets.traffic([port])
            client.sendall(bytes(100_000))
            left = 100_000
            while left:
                left -= len(server.recv(left))
            server.sendall(b"reply")
            assert client.recv(5) == b"reply"
            assert sockets.since(before, sockets.traffic([port])) == 100_005


def test_a_connection_that_closes_takes_nothing_away():
    """What a connection carried before the first reading does not count against the others when it closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0] as server:
            with socket.create_connection(("127.0.0.1", port)) as idle, listener.accept()[0] as its_server:
                idle.sendall(bytes(5000))
                assert len(its_server.recv(5000, socket.MSG_WAITALL)) == 5000
                before = sockets.traffic([port])
            client.sendall(b"four")
            assert server.recv(4) == b"four"
            assert sockets.since(before, sockets.traffic([port])) == 4


def test_timer_wakes_at_the_set_time_and_not_before():
    """epoll sees the timer at an absolute time; a time that has passed wakes at once."""
    timer = Timer()
    with select.epoll() as poll:
        poll.register(timer.fd, select.EPOLLIN)
        due = time.monotonic_ns() + 3_300_000
        timer.set(due)
        assert poll.poll(5)
        assert time.monotonic_ns() >= due
        timer.clear()
        assert not poll.poll(0)
        timer.set(time.monotonic_ns() - 1_000_000)
        assert poll.poll(5)
    timer.close()
