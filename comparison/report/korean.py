"""The report's sentences in Korean: each English sentence has a pattern, whose parts are put into the Korean one.

The English sentences stay the only place where a run is put into words; what has no pattern stays English, and a test
holds that the sentences of a run have one and keep their numbers.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

_NUMBER = r"[-+]?[\d.,]*\d(?:e[-+]?\d+)?%?"
_ENGLISH = re.compile(
    r"\b(?:and|the|is|are|was|at|of|between|neither|against|less|by|with|in|on|to|than|not|its|itself|more|takes|this|these|one|"
    r"other|others|all|each|will|covers|over|for)\b"
)
"""Words that stand in an English sentence, and in no name of an arm, a flag or a library."""
_PART = re.compile(r"\{(n?)(\w+)(;?)\}")

_TABLES = json.loads(Path(__file__).with_name("korean.json").read_text("utf-8"))
_SENTENCES: dict[str, str] = _TABLES["sentences"]
"""`{name}` is a part that is put into Korean itself, `{nname}` a number, `{name;}` a list whose parts `; ` separates."""
_WORDS: dict[str, str] = _TABLES["words"]
_BY_LOWER = {english[:1].lower() + english[1:]: korean for english, korean in _WORDS.items()}


@functools.cache
def said(text: str) -> str:
    """The Korean of an English sentence, name or label; the English where there is none."""
    known = _WORDS.get(text) or _BY_LOWER.get(text[:1].lower() + text[1:])
    if known:
        return known
    fitting = [_filled(template, found) for pattern, template in _PATTERNS if (found := pattern.fullmatch(text))]
    return min(fitting, key=_english_words, default=text)


def is_known(text: str) -> bool:
    """Whether there is a Korean for the text, or nothing in it to translate."""
    return said(text) != text or not _english_words(text)


def _english_words(text: str) -> int:
    """How many words are English ones, and no names: arms, flags, libraries."""
    return len(_ENGLISH.findall(text))


def _filled(template: str, found: re.Match[str]) -> str:
    def part(name: re.Match[str]) -> str:
        whole = found[name[1] + name[2]]
        if name[1]:
            return whole
        return min("; ".join(map(said, whole.split("; "))), said(whole), key=_english_words)

    return _PART.sub(part, template)


def _compiled(english: str) -> re.Pattern[str]:
    pieces = _PART.split(english)
    text = re.escape(pieces[0])
    for number, name, _, literal in zip(*[iter(pieces[1:])] * 4, strict=True):
        text += f"(?P<{number}{name}>{_NUMBER if number else _SHAPES.get(name, '.+?')})" + re.escape(literal)
    return re.compile(text)


_SHAPES = {
    "lead": r".+?(?=: (?:gRPC takes|no number|no verdict))",
    "load": r"[^:;]+",
    "arms": r"[\w-]+(?:, [\w-]+)*(?: and [\w-]+)?",
    "first": r"[\w-]+(?:, [\w-]+)*",
    "last": r"[\w-]+",
    "view": r".+?\)",
    "call": r"\S+",
    "endpoint": r"[A-Z]+ .+?",
    "version": r"HTTP/[\d.]+",
    "party": r"gRPC|HTTP",
    "connections": r"\d+ connections?",
    "one": r"(?:TLS|the HTTP service) [^;]+",
}
"""Parts that are not just anything."""
_PATTERNS = tuple((_compiled(english), korean) for english, korean in _SENTENCES.items())
