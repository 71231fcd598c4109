"""The text that `make run` prints once both services are ready: their addresses, and commands to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.agreed import url_host
from crossover.stack.settings import local_address

if TYPE_CHECKING:
    from crossover.stack.settings import StackSettings

_TEXT = """
Open {gateway} in a browser.{students}

  gateway       {gateway:<28} REST for everybody; its API is at {gateway}/docs
  model server  {rest:<28} Open Inference Protocol over REST
                {grpc:<28} the same over gRPC, with health and reflection

Try, in another terminal:
{tries}

Ctrl-C stops both."""


_STUDENTS = """
Students, in the same network: {url}
Everyone in this network can reach it; the model server and its models are out of their reach."""


def welcome(chosen: StackSettings) -> str:
    """The text, for the addresses and the repository that were chosen."""
    host = url_host(chosen.model_server_host)
    secure = chosen.model_server_tls_cert is not None
    gateway = f"{_scheme(chosen.gateway_tls_cert is not None)}://{url_host(chosen.gateway_host)}:{chosen.gateway_port}"
    rest = f"{_scheme(secure)}://{host}:{chosen.model_server_http_port}"
    grpc = f"{host}:{chosen.model_server_grpc_port}"
    tries = [*_calls(chosen, gateway), f"grpcurl {'-insecure' if secure else '-plaintext'} {grpc} list"]
    tries.append(f".venv/bin/python -m crossover {_client_command(chosen)}{_where(chosen, rest, grpc)}")
    lines = "\n".join(f"  {line}" for line in tries)
    return _TEXT.format(gateway=gateway, students=_students(chosen), rest=rest, grpc=grpc, tries=lines)


def _students(chosen: StackSettings) -> str:
    """Where a class finds the page."""
    if not chosen.classroom:
        return ""
    host = local_address() if chosen.gateway_host in ("0.0.0.0", "") else url_host(chosen.gateway_host)  # noqa: S104 - compared
    return _STUDENTS.format(url=f"{_scheme(chosen.gateway_tls_cert is not None)}://{host}:{chosen.gateway_port}")


def _scheme(secure: bool) -> str:
    return "https" if secure else "http"


def _calls(chosen: StackSettings, gateway: str) -> list[str]:
    """Commands for curl: a short inference where the repository has the model for it, else the list of models."""
    curl = "curl -sk" if gateway.startswith("https") else "curl -s"
    if not (chosen.model_repository / "identity").is_dir():
        return [f"{curl} {gateway}/v2/models"]
    call = f"'{gateway}/api/models/identity/prediction?x=1,2'"
    by_rest = [f"{curl} -i {call} -H 'Inference-Upstream: rest'"] if chosen.gateway_upstream_header else []
    return [f"{curl} {call}", *by_rest]


def _client_command(chosen: StackSettings) -> str:
    return "infer digits --wire all" if _has_samples(chosen) else "models"


def _has_samples(chosen: StackSettings) -> bool:
    """Whether the model digits is there with samples to try."""
    return (chosen.model_repository / "digits" / "samples.json").is_file()


def _where(chosen: StackSettings, rest: str, grpc: str) -> str:
    """The client's flags, where the addresses are not its defaults."""
    flags = f" --grpc {grpc} --rest {rest}" if (rest, grpc) != ("http://127.0.0.1:8000", "127.0.0.1:8001") else ""
    return f"{flags} --ca {chosen.model_server_tls_cert}" if chosen.model_server_tls_cert else flags
