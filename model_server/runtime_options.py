"""How a model is run by ONNX Runtime: the server's settings, and what config.pbtxt says of one model.

The keys are those of Triton's onnxruntime backend (its README, "Model Config Options").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from crossover.model_server.model_error import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protos import inference as pb

Arena = Literal["keep", "shrink", "off"]
_SHRINK = "cpu:0"
_MOST_DIGITS = 15
_ENTRIES = "session_entries"
_LEVELS = {-1: "basic", 0: "", 1: "extended", 2: "disable"}
"""`optimization.graph.level`; 0 is the server's own setting."""
_BOOLEANS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How a model is run."""

    intra_op_threads: int = 1
    inter_op_threads: int = 1
    graph_optimization: str = "all"
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    join: bool = True
    """Run requests together where config.pbtxt has dynamic_batching."""
    parallel: bool = False
    """Operators of one run in parallel."""
    arena: Arena = "keep"
    """Freed memory is kept for later runs, given back after each run, or not pooled at all."""
    memory_pattern: bool = True
    """A run's memory is planned from the run before."""
    session_entries: tuple[tuple[str, str], ...] = ()
    """Further settings of the session by ONNX Runtime's own keys."""
    isolated: bool = False
    """Run the model in processes of its own."""
    memory: int = 0
    """Bytes that such a process may take above its idle size; 0: any."""

    def of(self, config: pb.ModelConfig) -> RuntimeOptions:
        """These options with what the model's configuration changes; ModelError for a value that does not fit."""
        level = config.optimization.graph.level
        if level not in _LEVELS:
            raise ModelError(f"config.pbtxt sets optimization.graph.level to {level}; it takes -1, 0, 1 or 2")
        changes: dict[str, Any] = {"graph_optimization": _LEVELS[level] or self.graph_optimization}
        for key, (field, read) in _PARAMETERS.items():
            if key in config.parameters:
                value = read(key, config.parameters[key].string_value)
                changes[field] = changes.get(field, ()) + value if field == _ENTRIES else value
        if changes.pop("arena_off", False):
            changes["arena"] = "off"
        return replace(self, **changes)


def _threads(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 1024):
        raise _unfit(key, text, "a number of threads from 0 to 1024")
    return int(text)


def _boolean(key: str, text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise _unfit(key, text, "1 or 0")
    return _BOOLEANS[text.lower()]


def _mode(key: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise _unfit(key, text, "0 (sequential) or 1 (parallel)")
    return text == "1"


def _shrinkage(key: str, text: str) -> Arena:
    devices = [device.strip() for device in text.split(";") if device.strip()]
    if not devices or any(not device.partition(":")[2].isdigit() for device in devices):
        raise _unfit(key, text, f"devices such as {_SHRINK}")
    return "shrink" if _SHRINK in devices else "keep"


def _isolation(key: str, text: str) -> bool:
    if text not in ("none", "process"):
        raise _unfit(key, text, "none or process")
    return text == "process"


def _bytes(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise _unfit(key, text, "a number of bytes, 0 for no limit")
    return int(text)


def _entry(key: str, text: str) -> tuple[tuple[str, str], ...]:
    return ((key, "1" if _boolean(key, text) else "0"),)


def _unfit(key: str, text: str, right: str) -> ModelError:
    return ModelError(f"config.pbtxt sets parameters '{key}' to '{text[:40]}'; it takes {right}")


_PARAMETERS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "intra_op_thread_count": ("intra_op_threads", _threads),
    "inter_op_thread_count": ("inter_op_threads", _threads),
    "execution_mode": ("parallel", _mode),
    "memory.enable_memory_arena_shrinkage": ("arena", _shrinkage),
    "enable_mem_arena": ("arena_off", lambda key, text: not _boolean(key, text)),
    "enable_mem_pattern": ("memory_pattern", _boolean),
    "session.use_device_allocator_for_initializers": (_ENTRIES, _entry),
    "session.disable_prepacking": (_ENTRIES, _entry),
    "MODEL_ISOLATION": ("isolated", _isolation),
    "MODEL_MEMORY_BYTES": ("memory", _bytes),
}
