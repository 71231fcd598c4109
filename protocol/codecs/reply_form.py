"""How a REST caller wants its outputs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReplyForm:
    """Which outputs the caller wants as binary data (OIP binary tensor data extension); JSON is the default.

    Requests that differ in nothing but their tensors share one, so it is not changed once its request is read.
    """

    default: bool = False
    """`binary_data_output` of the request."""
    named: dict[str, bool] = field(default_factory=dict)
    """`binary_data` of an output; it goes before the default."""

    def binary(self, name: str) -> bool:
        return self.named.get(name, self.default) if self.named else self.default
