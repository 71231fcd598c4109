"""What ONNX Runtime says, without what concerns only its authors: status prefix, source file, C++ signature, host paths.

The reason stands at the end of its text, behind a signature that may be longer than the reason, so nothing is cut in front
of it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

MOST_CHARACTERS = 1000
_FIRST = 300
"""Characters that are kept of a longer text's beginning; a node with its ports may stand before the reason, which comes last."""
_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(r"\S*?[\w./\\+-]+\.(?:cc|cpp|cxx|cu|h|hpp|inl|inc):\d+\s+")
_LOAD = re.compile(r"\bLoad model from \S+ failed:\s*")
_PATH = re.compile(r"(?<![\w.])/(?:[^\s'\",;:]+/)+")
_FOLLOWING = re.compile(r"\s*(?:::)?(const\b|noexcept\b|operator\(\)|<(?=lambda)|\[(?=with ))")
"""What may stand behind the parameters of a C++ signature."""
_OPEN, _CLOSE = "([{<", ")]}>"


def reason_of(error: BaseException, *folders: Path) -> str:
    """The reason in an exception of ONNX Runtime's, on one line; `folders` are further places whose paths are not told."""
    text = str(error).partition("Stacktrace:")[0]
    text = " ".join(_PREFIX.sub("", text.strip()).split())
    text = _without_sources(_LOAD.sub("", text))
    text = " ".join(_without_paths(text, folders).split()).strip(" :")
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:_FIRST]} ... {text[_FIRST + 5 - MOST_CHARACTERS :]}"
    return text or "ONNX Runtime gave no reason"


def _without_sources(text: str) -> str:
    """Without every `file.cc:123 type name(parameters) ` in it."""
    while (match := _SOURCE.search(text)) is not None:
        text = text[: match.start()] + text[_signature_end(text, match.end()) :]
    return text


def _signature_end(text: str, start: int) -> int:
    """Where the C++ signature that begins at `start` ends; `start` itself where none does."""
    at = _parameters(text, start)
    if at is None:
        return start
    while (more := _FOLLOWING.match(text, at)) is not None:
        if more[1] in {"<", "["}:
            at = _balanced(text, more.start(1)) or more.end()
        else:
            at = (_parameters(text, more.start(1)) or more.end()) if more[1] == "operator()" else more.end()
    return at


def _parameters(text: str, start: int) -> int | None:
    """Behind the closing parenthesis of the first parameter list; None when a sentence comes first."""
    at = start
    while at < len(text):
        if text[at] == "(":
            name = text[start:at]
            return _balanced(text, at) if re.search(r"[\w>~=\]]$", name) and not re.search(r"[.!?] ", name) else None
        at = (_balanced(text, at) or at + 1) if text[at] == "<" and at > start and text[at - 1] not in " <" else at + 1
    return None


def _balanced(text: str, start: int) -> int | None:
    """Behind the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] in _OPEN:
            depth += 1
        elif text[at] in _CLOSE and not text.startswith("->", at - 1):
            depth -= 1
            if depth == 0:
                return at + 1
    return None


def _without_paths(text: str, folders: tuple[Path, ...]) -> str:
    """File names stay, folders of this host do not. Names of a graph's nodes may look like paths; those stay."""
    roots = [tempfile.gettempdir(), sys.prefix, str(Path.home()), str(Path.cwd()), *map(str, folders)]
    prefixes = tuple(f"{root.rstrip('/')}/" for root in roots if len(root) > 1)
    return _PATH.sub(lambda found: "" if found[0].startswith(prefixes) else found[0], text)
