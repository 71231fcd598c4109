"""The gRPC endpoint keeps its promises whichever library listens."""

from __future__ import annotations

import pytest

from crossover.model_server.server import GRPC_LIBRARIES
from tests import grpc_service


@pytest.fixture(params=list(GRPC_LIBRARIES), autouse=True)
def library(request, monkeypatch):
    """What listens in this test."""
    monkeypatch.setattr(grpc_service, "LIBRARY", request.param)
    return request.param
