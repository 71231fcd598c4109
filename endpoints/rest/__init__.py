"""OIP REST and KServe V1 around any `Inference`, as plain ASGI."""

from endpoints.rest.app import OipRest
from endpoints.rest.serve import RestListener
from endpoints.rest.types import RestOptions

__all__ = ["OipRest", "RestListener", "RestOptions"]
