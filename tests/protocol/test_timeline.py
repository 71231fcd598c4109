"""The stations of a request add up to what the caller saw."""

from crossover.protocol.timeline import Timeline, durations, server_timing


def _line(stamps: dict[str, int]) -> Timeline:
    timeline = Timeline()
    timeline.stamps.update(stamps)
    return timeline


GATEWAY = {
    "received": 0, "decoded": 10, "sent": 30, "server.received": 40, "server.decoded": 45, "server.started": 60,
    "server.finished": 100, "server.encoded": 110, "answered": 130, "read": 140, "encoded": 150,
}  # fmt: skip


def test_the_parts_of_a_hop_fit_the_whole():
    """decode + encode + upstream + queue + compute + reply is encoded - received."""
    scaled = _line({name: stamp * 1_000_000 for name, stamp in GATEWAY.items()})
    assert durations(scaled) == {"decode": 10, "encode": 20, "upstream": 45, "queue": 15, "compute": 40, "reply": 20}
    assert sum(durations(scaled).values()) == 150


def test_the_parts_in_one_process_fit_the_whole():
    """Without a hop the engine's own stamps fill queue and compute."""
    stamps = {"received": 0, "decoded": 5_000_000, "started": 7_000_000, "finished": 9_000_000, "encoded": 10_000_000}
    assert sum(durations(_line(stamps)).values()) == 10


def test_stamps_survive_the_wire():
    """A timeline read back from its header is the same, under the server's prefix."""
    told = _line({"received": 5, "decoded": 6})
    heard = Timeline()
    heard.adopt(told.to_header())
    assert heard.stamps == {"server.received": 5, "server.decoded": 6}


def test_a_hostile_timeline_is_ignored():
    """Text that is not a timeline changes nothing."""
    heard = Timeline()
    heard.adopt("=1,x,y=,z=-1,w=1e9,=")
    assert heard.stamps == {}


def test_server_timing_has_every_part():
    """The header names each part with its milliseconds."""
    text = server_timing(durations(_line(GATEWAY)))
    assert [part.split(";")[0] for part in text.split(", ")] == [
        "decode", "encode", "upstream", "queue", "compute", "reply",
    ]  # fmt: skip
