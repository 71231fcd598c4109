"""The bytes and fields of one call on its wire, recorded by the client for a caller that asked to see them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Recording:
    """Bytes and fields as they were sent and received; empty where a call did not get so far.

    A client that joins, streams or repeats calls keeps the last exchange for this one.
    """

    path: str = ""
    """The method's or the resource's path; empty when there was no wire."""
    sent: list[tuple[str, str]] = field(default_factory=list)
    """HTTP headers, or the gRPC metadata that was given to the library."""
    request: bytes = b""
    """The body or message."""
    status: int | None = None
    """The HTTP or the gRPC status; None when none came."""
    details: str = ""
    """gRPC's status message."""
    received: list[tuple[str, str | bytes]] = field(default_factory=list)
    """HTTP headers of the reply, or the trailing metadata of a gRPC call."""
    reply: bytes = b""
    head: list[tuple[str, str]] = field(default_factory=list)
    """Every header field of a gRPC request as it was sent, where the HTTP/2 is ours; a library keeps its own to itself."""
    reply_head: list[tuple[str, str]] = field(default_factory=list)
    """The reply's header fields ..."""
    reply_trailers: list[tuple[str, str]] = field(default_factory=list)
    """... and trailer fields, likewise."""
    frames: list[tuple[bool, int, int, int]] = field(default_factory=list)
    """HEADERS and DATA frames likewise: whether it was sent, type, flags, bytes of payload. Large DATA frames come in pieces."""
    stream: bool = False
    """The messages went over a stream, whose metadata and trailers belong to the stream as a whole."""

    def begin(self, path: str, sent: list[tuple[str, str]], request: bytes) -> None:
        """A request leaves; the answer to an earlier attempt is forgotten."""
        self.path, self.sent, self.request = path, sent, request
        self.status, self.details, self.received, self.reply = None, "", [], b""
        self.head, self.reply_head, self.reply_trailers, self.frames = [], [], [], []

    def joined_frames(self, *, is_sent: bool) -> list[tuple[int, int, int]]:
        """Type, flags and bytes of the frames in one direction; DATA frames in a row are one, with all their bytes."""
        joined: list[tuple[int, int, int]] = []
        for sent, kind, flags, size in self.frames:
            if sent is not is_sent:
                continue
            if joined and joined[-1][0] == kind == 0:
                joined[-1] = kind, joined[-1][1] | flags, joined[-1][2] + size
            else:
                joined.append((kind, flags, size))
        return joined

    def end(self, status: int, received: list[tuple[str, str | bytes]], reply: bytes = b"", details: str = "") -> None:
        """The answer has come."""
        self.status, self.received, self.reply, self.details = status, received, reply, details
