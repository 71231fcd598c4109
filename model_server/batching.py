"""Dynamic batching: requests that arrive while a run of the same model is under way are run together.

The wrapper is the one that joins calls at the hop. A run that would happen at once on the event loop is not worth
joining, since nothing can arrive while it is under way, and passes by without a queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.clients.coalescing import Coalescing, rows_allowed
from crossover.model_server.engine import Engine

if TYPE_CHECKING:
    from crossover.protocol.inference import CallContext
    from crossover.protocol.messages import InferRequest, InferResponse


class Batching(Coalescing):
    """An engine that batches the models whose configuration allows it."""

    inner: Engine

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        response = self.inner.infer_now(request, context)
        return await super().infer(request, context) if response is None else response

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`."""
        return self.inner.infer_now(request, context)

    async def limit(self, request: InferRequest, context: CallContext) -> int:
        """Rows that may run together; the configuration is at hand, so it is never asked for twice."""
        return rows_allowed(self.inner.repository.resolve(request.model_name, request.model_version).config)
