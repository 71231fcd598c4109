"""What `make run` prints once both services are ready: where they are, and what to try."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crossover.service.process import url_host

if TYPE_CHECKING:
    from crossover.stack.settings import StackSettings

_TEXT = """
Open {gateway} in a browser.

  gateway       {gateway:<28} REST for everybody; its API is at {gateway}/docs
  model server  {rest:<28} Open Inference Protocol over REST
                {grpc:<28} the same over gRPC, with health and reflection

Try, in another terminal:
{tries}

Ctrl-C stops both."""


def welcome(chosen: StackSettings) -> str:
    """The text, for the addresses and the repository that were chosen."""
    host = url_host(chosen.model_server_host)
    secure = chosen.model_server_tls_cert is not None
    gateway = f"{_scheme(chosen.gateway_tls_cert is not None)}://{url_host(chosen.gateway_host)}:{chosen.gateway_port}"
    rest = f"{_scheme(secure)}://{host}:{chosen.model_server_http_port}"
    grpc = f"{host}:{chosen.model_server_grpc_port}"
    tries = [*_calls(chosen, gateway), f"grpcurl {'-insecure' if secure else '-plaintext'} {grpc} list"]
    tries.append(f".venv/bin/python -m clients{_where(chosen, rest, grpc)} {_client_command(chosen)}")
    return _TEXT.format(gateway=gateway, rest=rest, grpc=grpc, tries="\n".join(f"  {line}" for line in tries))


def _scheme(secure: bool) -> str:
    return "https" if secure else "http"


def _calls(chosen: StackSettings, gateway: str) -> list[str]:
    """Commands for curl: a real inference where the repository has digits and its samples, else the list of models."""
    curl = "curl -sk" if gateway.startswith("https") else "curl -s"
    sample = _sample(chosen)
    if sample is None:
        return [f"{curl} {gateway}/v2/models"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(sample)], "data": sample}
    body = json.dumps({"inputs": [tensor]}, separators=(",", ":"))
    calls = [f"{curl} {gateway}/v2/models/digits/infer -d '{body}'"]
    if chosen.gateway_upstream_header:
        calls.append(f"{curl} -i {gateway}/v2/models/digits -H 'Inference-Upstream: rest'")
    return calls


def _client_command(chosen: StackSettings) -> str:
    return "models" if _sample(chosen) is None else "infer digits --wire all"


def _sample(chosen: StackSettings) -> list[float] | None:
    """The inputs of the first sample of the model digits."""
    try:
        samples = json.loads((chosen.model_repository / "digits" / "samples.json").read_text("utf-8"))
        return list(samples["samples"][0]["inputs"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _where(chosen: StackSettings, rest: str, grpc: str) -> str:
    """The client's flags, where the addresses are not its defaults."""
    flags = f" --grpc {grpc} --rest {rest}" if (rest, grpc) != ("http://127.0.0.1:8000", "127.0.0.1:8001") else ""
    return f"{flags} --ca {chosen.model_server_tls_cert}" if chosen.model_server_tls_cert else flags
