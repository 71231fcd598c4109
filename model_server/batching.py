"""Dynamic batching: requests that arrive while a run of the same model is under way are run together.

The wrapper is the one that joins calls at the hop. A run that would happen at once on the event loop is not worth
joining, since nothing can arrive while it is under way, and passes by without a queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_server.engine import Engine
from protocol.coalescing import Coalescing, rows_allowed
from protocol.errors import InferenceError

if TYPE_CHECKING:
    from protocol.inference import CallContext
    from protocol.messages import InferRequest


class Batching(Coalescing):
    """An engine that batches the models whose configuration allows it."""

    inner: Engine

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)

    async def limit(self, request: InferRequest, context: CallContext) -> int:
        """Rows that may run together; the configuration is at hand, so it is never asked for twice."""
        try:
            version = self.inner.repository.resolve(request.model_name, request.model_version)
        except InferenceError:
            return 0
        if version.runs_inline(request.inputs):
            return 0
        return rows_allowed(version.config)
