"""Payloads cross to the generator's process once."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.comparison.load.shared import Receiver, Sender, Shared


@dataclass
class Work:
    requests: list[bytes]
    number: int


def test_what_was_sent_is_not_sent_again():
    """The first message brings the list, later ones a number for it; each work arrives with the whole list."""
    requests, others = Shared([b"x" * 10_000]), Shared([b"y"])
    sender, receiver = Sender(), Receiver()
    sizes = []
    for number, sent in enumerate((requests, requests, others, requests)):
        messages = sender.messages(Work(sent, number))
        *kept, work = [receiver.read(message) for message in messages]
        assert kept == [None] * (len(messages) - 1)
        assert work == Work(list(sent), number)
        sizes.append(sum(map(len, messages)))
    assert sizes[0] > 10_000 > 1000 > max(sizes[1:])
