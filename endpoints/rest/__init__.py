"""OIP REST and KServe V1 around any `Inference`, as plain ASGI."""

from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions

__all__ = ["OipRest", "RestListener", "RestOptions"]
