"""What a port allows of repository control and of shared memory, the same on every wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class ControlPolicy:
    """Whether models may be loaded and unloaded, and with what."""

    control: bool = True
    """False: load and unload are PERMISSION_DENIED."""
    uploads: bool = True
    """False: a load that brings its own files or configuration is PERMISSION_DENIED."""
    setting: str = "MODEL_SERVER_REPOSITORY_CONTROL"
    """The setting behind `control`, for the sentence."""

    shared_memory: bool | None = None
    """Whether tensors may lie in shared memory of this host; None: the service has no such thing."""

    def check_shared_memory(self) -> None:
        """Raise unless a call may register, show or use shared memory: UNIMPLEMENTED, or PERMISSION_DENIED."""
        if self.shared_memory is None:
            raise InferenceError(
                Code.UNIMPLEMENTED,
                "tensors in shared memory are not supported here; the model server's own ports have them",
            )
        if not self.shared_memory:
            raise InferenceError(
                Code.PERMISSION_DENIED,
                "shared memory is off at a port that other hosts may reach; MODEL_SERVER_SHARED_MEMORY=1 allows it",
            )

    def check(self, parameters: Iterable[str] = ()) -> None:
        """PERMISSION_DENIED, naming the setting, for a call with these parameters that is not allowed."""
        if not self.control:
            raise InferenceError(
                Code.PERMISSION_DENIED, f"loading and unloading models is switched off here; {self.setting}=1 allows it"
            )
        if self.uploads:
            return
        for name in parameters:
            if name == "config" or name.startswith("file:"):
                raise InferenceError(
                    Code.PERMISSION_DENIED,
                    f"parameter {quoted(name)} brings a model along, which is off here; MODEL_UPLOADS=1 allows it",
                )


EVERYTHING = ControlPolicy()
