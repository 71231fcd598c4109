"""What both services answer: one function, so that only the wires differ."""

import hashlib


def hello(name: str, times: int, photo: bytes) -> tuple[str, int, bytes]:
    """The greeting, the number of letters in the name, and the photo's SHA-256 (empty without a photo)."""
    message = " ".join([f"Hello, {name}!"] * max(1, times))
    return message, len(name), hashlib.sha256(photo).digest() if photo else b""
