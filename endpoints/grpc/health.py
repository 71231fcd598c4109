"""grpc.health.v1 for the server ("" and the service's name) and for each model by its name (grpc/grpc health-checking.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protocol.errors import Code, InferenceError
from protocol.inference import CallContext, Inference
from protos import inference as pb

WATCH_SECONDS = 0.25
_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Asks the `Inference` whenever somebody asks, so that nothing has to be kept in step."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name for it
        status = await self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"'{request.service[:80]}' is not a service or model here")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        told = None
        while True:
            status = await self._status(request.service)
            if status != told:
                yield health_pb2.HealthCheckResponse(status=status)
                told = status
            await asyncio.sleep(WATCH_SECONDS)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        names = ["", pb.SERVICE]
        index = await self._inference.repository_index(False, CallContext())
        names += sorted({model.name for model in index.models})
        found = {name: health_pb2.HealthCheckResponse(status=await self._status(name)) for name in names}
        return health_pb2.HealthListResponse(statuses=found)

    async def _status(self, service: str) -> Any:
        try:
            if service in {"", pb.SERVICE}:
                ready = await self._inference.server_ready(CallContext())
            else:
                ready = await self._inference.model_ready(service, "", CallContext())
        except InferenceError as error:
            return _Status.SERVICE_UNKNOWN if error.code is Code.NOT_FOUND else _Status.NOT_SERVING
        return _Status.SERVING if ready else _Status.NOT_SERVING
