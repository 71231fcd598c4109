"""CPU time of a process in nanoseconds, and what else went on on the machine meanwhile.

/proc/PID/task/*/schedstat counts in nanoseconds of run time (Documentation/scheduler/sched-stats.rst); the clock ticks
of /proc/PID/stat (10 ms) are too coarse for slices of one second.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def process_cpu_ns(pid: int) -> int:
    """Run time of all live threads of `pid` in ns; ProcessLookupError when it is gone."""
    total = 0
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    for task in tasks:
        try:
            total += int(Path(task, "schedstat").read_bytes().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def whole_cpu_s(pid: int) -> float:
    """CPU time of a process since it began, in seconds, with that of threads which have ended (clock_getcpuclockid(3))."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1e9


def family_whole_cpu_s(pid: int) -> float:
    """The same of `pid`, its living descendants, and those that have ended and were waited for (proc_pid_stat(5), cutime)."""
    total = 0.0
    for member in family(pid):
        try:
            ended = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()[13:15]
            total += whole_cpu_s(member) + sum(map(int, ended)) * _TICK_NS / 1e9
        except (OSError, ValueError):
            continue
    return total


def family(pid: int) -> list[int]:
    """`pid` and all its descendants that live."""
    found = [pid]
    for parent in found:
        try:
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = Path(task, "children").read_text().split()
                found += [int(child) for child in children if int(child) not in found]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def family_cpu_ns(pid: int) -> int:
    """Run time of `pid` and its living descendants, in ns."""
    total = 0
    for member in family(pid):
        try:
            total += process_cpu_ns(member)
        except ProcessLookupError:
            continue
    return total


def peak_memory_bytes(pid: int) -> int:
    """The largest resident set that `pid` has had (VmHWM), in bytes; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def family_peak_memory_bytes(pid: int) -> int:
    """The sum of the largest resident sets of `pid` and its living descendants, in bytes."""
    return sum(peak_memory_bytes(member) for member in family(pid))


def proportional_memory_bytes(pid: int) -> int:
    """Resident memory of `pid`, shared pages divided among those who share them (PSS), in bytes; 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return 0


@dataclass(frozen=True, slots=True)
class Machine:
    """Counters of the whole machine at one moment, in ns since boot."""

    busy_ns: int
    steal_ns: int
    total_ns: int
    pressure_ns: int
    """Time in which some task waited for a CPU (PSI); 0 where the kernel does not tell."""

    def since(self, earlier: Machine) -> Machine:
        return Machine(
            self.busy_ns - earlier.busy_ns,
            self.steal_ns - earlier.steal_ns,
            self.total_ns - earlier.total_ns,
            self.pressure_ns - earlier.pressure_ns,
        )


def machine() -> Machine:
    """The machine's counters now (/proc/stat, /proc/pressure/cpu)."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, first.split()[1:9])
    busy = user + nice + system + irq + softirq
    total = busy + steal + idle + iowait
    return Machine(busy * _TICK_NS, steal * _TICK_NS, total * _TICK_NS, _pressure_ns())


def _pressure_ns() -> int:
    try:
        text = Path("/proc/pressure/cpu").read_text()
    except OSError:
        return 0
    return int(text.split("total=", 1)[1].split()[0]) * 1000
