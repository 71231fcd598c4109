"""Native parts, each with an equivalent in Python that it must agree with. A name is None where its part is not built."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def _built(name: str) -> ModuleType | None:
    try:
        return import_module(f"crossover.protocol.native.{name}")
    except ImportError:
        return None


jsontensors = _built("_jsontensors")
bytestensors = _built("_bytestensors")
jsonchecks = _built("_jsonchecks")
