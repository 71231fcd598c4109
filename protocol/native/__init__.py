"""Native parts, each with a way in Python that it must agree with. `jsonnumbers` is None where it is not built."""

from __future__ import annotations

from types import ModuleType

jsonnumbers: ModuleType | None
try:
    from protocol.native import _jsonnumbers

    jsonnumbers = _jsonnumbers
except ImportError:
    jsonnumbers = None
