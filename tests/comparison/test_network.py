"""Emulated networks: what the wire does to real packets, and that a run over one leaves nothing behind.

Where the system allows no hosts of our own (no namespaces, no TUN device), what is tested is that the lab says so.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from crossover.comparison.__main__ import main
from crossover.comparison.network import hosts
from crossover.comparison.network.profiles import NETWORKS, PROFILES, Profile, is_close

ROOT = Path(__file__).parents[2]
ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
SMALL = ("--payload", "256", "--blocks", "2", "--turns", "1", "--slice", "0.1", "--arms", "rest-binary", "grpc")
MARK = "LAB_TEST_MARK"


def on_a_host(code):
    """What `code` prints as JSON on a host of its own with a link, or the sentence that says why there is none."""
    if reason := hosts.why_not():
        return reason
    program = textwrap.dedent("""
        import json, sys, time
        from crossover.comparison.network.calibration import calibrated, round_trips_ms
        from crossover.comparison.network.link import THERE_ADDRESS, Link, LinkError
        from crossover.comparison.network.profiles import PROFILES, Profile
        try:
            link = Link()
        except LinkError as error:
            print(json.dumps(str(error)))
            sys.exit()
        with link:
    """) + textwrap.indent(textwrap.dedent(code), "    ")
    done = subprocess.run(
        [*hosts.new_host(), sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("median_ms", "close"), [(0.25, True), (0.34, True), (0.36, False), (0.14, False)]
)  # fmt: skip
def test_a_short_link_may_be_off_by_a_tenth_of_a_millisecond(median_ms, close):
    """The same zone is 0.25 ms, give or take 0.1 ms."""
    assert is_close(PROFILES["same-zone"], median_ms) is close


def test_a_long_link_may_be_off_by_a_twentieth():
    """A region's 30 ms may be 31.4 and not 31.6."""
    assert is_close(PROFILES["region"], 31.4)
    assert not is_close(PROFILES["region"], 31.6)


def test_packets_are_delayed_and_lost_as_asked():
    """No round trip is shorter than the two delays, and of packets that shall be lost as many are."""
    found = on_a_host("""
        link.use(Profile("test", 8.0, "", loss=0.25), 0.0, 5)
        import crossover.comparison.network.calibration as c
        c._PATIENCE_S = 0.05
        before = link.counters()
        taken = round_trips_ms(100)
        went = link.counters().since(before)
        print(json.dumps([float(taken.min()), len(taken), went.packets, went.lost]))
    """)
    if isinstance(found, str):
        assert found
        return
    shortest, answered, packets, lost = found
    assert shortest >= 8.0
    assert 40 <= answered <= 72
    assert 0.13 <= lost / packets <= 0.37


def test_a_rate_is_a_rate_and_order_is_kept():
    """Forty packets of 1000 bytes at 1 Mbit/s take their time one after the other, and none overtakes another."""
    found = on_a_host("""
        import os, socket
        from crossover.comparison.network import calibration
        link.use(Profile("test", 10.0, "", jitter_ms=5.0, to_model_server_mbit=1, to_gateway_mbit=1000, queue_ms=1e4), 0.0, 5)
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        raw.settimeout(5)
        words = bytes(972)
        began = time.monotonic()
        for number in range(40):
            raw.sendto(calibration._echo(7, number) + words, (THERE_ADDRESS, 0))
        order = [int.from_bytes(raw.recv(2048)[26:28], "big") for _ in range(40)]
        print(json.dumps([order, time.monotonic() - began]))
    """)
    if isinstance(found, str):
        assert found
        return
    order, seconds = found
    assert order == list(range(40))
    assert seconds >= 40 * 1000 * 8 / 1e6


def test_idle_connections_keep_their_window_where_the_network_is_called_so():
    """The setting of both hosts follows the profile, and goes back."""
    found = on_a_host("""
        import subprocess
        def read():
            command = ["cat", "/proc/sys/net/ipv4/tcp_slow_start_after_idle"]
            return [subprocess.run([*host, *command], capture_output=True, text=True).stdout.strip()
                    for host in ([], link.into_other_host)]
        seen = []
        for name in ("region", "region-warm", "region"):
            link.use(PROFILES[name], 0.0, 5)
            seen.append(read())
        print(json.dumps(seen))
    """)
    if isinstance(found, str):
        assert found
        return
    assert found == [["1", "1"], ["0", "0"], ["1", "1"]]


def lab(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "comparison", "run", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, MARK: str(os.getpid())}, **options,
    )  # fmt: skip


def processes():
    """Living processes that one of these runs started."""
    wanted = f"{MARK}={os.getpid()}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def await_no_process():
    until = time.monotonic() + 20
    while (left := processes()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left


@pytest.mark.slow
def test_a_run_over_a_network_says_what_it_measured_and_leaves_nothing(tmp_path):
    """Cells of both networks, the calibration, bytes with headers; afterwards no process and no setting is left."""
    allowed = ALLOWED.read_text() if ALLOWED.exists() else ""
    running = lab(*SMALL, "--blocks", "1", "--network", "loopback", "same-zone", "--out", tmp_path / "run")
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, out + err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    if summary["notes"]:
        assert summary["notes"][0].startswith("network same-zone: skipped, ")
        return
    (calibration,) = summary["networks"]
    assert calibration["network"] == "same-zone"
    assert {cell["network"] for cell in summary["cells"]} == {"loopback", "same-zone"}
    assert {row["where"] for row in summary["arms"]} == {"256 B, loopback", "256 B, same-zone"}
    assert all(row["requests"] == row["answered"] > 0 for row in summary["arms"])
    bytes_of = {(row["arm"], row["condition"]): row["wire_bytes"] for row in summary["arms"]}
    assert bytes_of["grpc", "same-zone"] > bytes_of["grpc", "loopback"] + 2 * 40
    assert "network map" in (tmp_path / "run" / "report.html").read_text().lower()
    await_no_process()
    assert (ALLOWED.read_text() if ALLOWED.exists() else "") == allowed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_nothing(number, tmp_path):
    """Whatever ends the program that was started, wire, hosts and services end too, and settings are put back."""
    allowed = ALLOWED.read_text() if ALLOWED.exists() else ""
    running = lab(*SMALL, "--slice", "5", "--network", "same-zone", "--out", tmp_path / "run")
    until = time.monotonic() + 60
    while not any(b"crossover.comparison.services.gateway" in line for line in processes()) and running.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode != 0 or "skipped" in err
    await_no_process()
    assert (ALLOWED.read_text() if ALLOWED.exists() else "") == allowed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--network", "carrier-pigeon"), f"choose from '{NETWORKS[0]}'"),
        (("--network", "loopback", "region", "--rest", "http://127.0.0.1:9"), "it cannot put a network before"),
    ],
)
def test_what_no_network_can_be_put_on_is_refused(arguments, said, tmp_path, capsys, monkeypatch):
    """A profile that does not exist, or services that are not ours: exit code 2 and the reason."""
    monkeypatch.setenv(hosts.INSIDE, "1")
    try:
        code = main(["run", *SMALL[:-3], *arguments, "--out", str(tmp_path / "run")])
    except SystemExit as refused:
        code = refused.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_every_profile_is_described():
    """A profile has a round trip and words for people."""
    assert all(isinstance(p, Profile) and p.round_trip_ms > 0 and p.summary for p in PROFILES.values())
