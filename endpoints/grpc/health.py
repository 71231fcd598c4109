"""grpc.health.v1 for the server ("" and the service's name) and for each model by its name (grpc/grpc health-checking.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossover.endpoints.grpc.errors import abort, as_inference_error
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protos import inference as pb

WATCH_SECONDS = 0.25
_ASKING_SECONDS = 0.9
_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Asks the `Inference` whenever somebody asks, so that nothing has to be kept in step."""

    def __init__(self, inference: Inference, draining: asyncio.Event) -> None:
        self._inference = inference
        self._draining = draining

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
        status = await self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            name = request.service[:80]
            await abort(context, InferenceError(Code.NOT_FOUND, f"'{name}' is not a service or model here"))
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The status now and whenever it changes, until the client goes away or the service stops."""
        reported = None
        while not self._draining.is_set():
            status = await self._status(request.service)
            if status != reported:
                yield health_pb2.HealthCheckResponse(status=status)
                reported = status
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), WATCH_SECONDS)
        if reported != _Status.SERVICE_UNKNOWN:
            yield health_pb2.HealthCheckResponse(status=_Status.NOT_SERVING)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = ["", pb.SERVICE]
        try:
            index = await self._inference.repository_index(False, CallContext())
            names += sorted({model.name for model in index.models})
        except Exception as error:  # noqa: BLE001 - no exception may leave as UNKNOWN with its class
            await abort(context, as_inference_error(error))
        statuses = {name: health_pb2.HealthCheckResponse(status=await self._status(name)) for name in names}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def _status(self, service: str) -> Any:
        try:
            async with asyncio.timeout(_ASKING_SECONDS):
                if service in {"", pb.SERVICE}:
                    ready = await self._inference.server_ready(CallContext())
                else:
                    ready = await self._inference.model_ready(service, "", CallContext())
        except Exception as error:  # noqa: BLE001 - as above; what cannot say that it is well is not
            code = Code.UNAVAILABLE if isinstance(error, TimeoutError) else as_inference_error(error).code
            return _Status.SERVICE_UNKNOWN if code is Code.NOT_FOUND else _Status.NOT_SERVING
        return _Status.SERVING if ready else _Status.NOT_SERVING
