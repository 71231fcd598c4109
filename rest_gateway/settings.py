"""The gateway's settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from crossover.clients.balancing import targets
from crossover.protocol.wires import UNIX, WIRES, Balancing, Target, names_several
from crossover.service.agreed import url_host
from crossover.service.declared import setting
from crossover.service.doors.setup import upstream_key
from crossover.service.settings import (
    DAY,
    MOST_BYTES,
    MOST_THREADS,
    RepositoryControl,
    ServiceSettings,
    rate_burst,
    rate_limit,
    switch,
    tls_of,
    user_data,
    zero_or_from,
)
from crossover.transport.tls import Tls

if TYPE_CHECKING:
    from crossover.service.workers.worker import Worker


def _check_wire(value: str) -> None:
    if value not in WIRES:
        raise ValueError(f"it takes one of {', '.join(WIRES)}")


def _check_grpc_target(value: str) -> None:
    if value:
        targets.check("grpc", value)


def _check_rest_target(value: str) -> None:
    if value:
        targets.check("rest", value)


def _check_file(value: Path | None) -> None:
    if value is not None and not value.is_file():
        raise ValueError("there is no such file")


class GatewaySettings(ServiceSettings):
    """Where the gateway listens, where it goes, and what it allows."""

    title: ClassVar[str] = "The gateway"
    tables: ClassVar[tuple[str, ...]] = ("gateway",)
    secrets: ClassVar[frozenset[str]] = frozenset({"database_url"})

    gateway_host: str = setting("127.0.0.1", description="address that the gateway binds; a name, IPv4 or IPv6")
    gateway_port: int = setting(8080, ge=0, le=65535, description="the gateway's public port")
    gateway_workers: int = setting(1, ge=1, le=256, description="processes of the gateway, which share its port")
    gateway_upstream: str = setting(
        "grpc", check=_check_wire, description=f"how the gateway reaches the model: {', '.join(WIRES)}"
    )
    gateway_upstream_header: bool = setting(
        False, description="a request may choose its upstream with the header Inference-Upstream (on in make run)"
    )
    gateway_timing: bool = setting(
        False,
        description="send Server-Timing with infer replies, to callers that send Inference-Timeline: 1 and to ten others a second "
        "(on in make run)",
    )
    gateway_repository_control: RepositoryControl = setting(
        "0",
        spelled=switch,
        description="allow load and unload through the gateway: 1, 0 (403), or auto, which is 1 where only this host, an API "
        "key or a client certificate gets in (make run has auto)",
    )
    gateway_rate_limit: float = rate_limit("the gateway")
    gateway_rate_burst: int = rate_burst("GATEWAY_RATE_LIMIT")
    gateway_grpc_target: str = setting(
        "",
        check=_check_grpc_target,
        description="host:port of the model server's gRPC, or unix:PATH; replicas: several by commas, dns:///name:port, or @FILE "
        "with one address a line; none: MODEL_SERVER_HOST and MODEL_SERVER_GRPC_PORT",
    )
    gateway_rest_target: str = setting(
        "",
        check=_check_rest_target,
        description="URL of the model server's REST, host:port, or unix:PATH; replicas: several by commas, dns:///name:port, or "
        "@FILE with one address a line; none: MODEL_SERVER_HOST and MODEL_SERVER_HTTP_PORT",
    )
    upstream_balancing: Balancing = setting(
        "round_robin",
        description="which replica takes a call: round_robin, least_request (fewest under way), or pick_first (others when it "
        "cannot)",
    )
    gateway_tls_cert: Path | None = setting(None, description="PEM certificate chain of the gateway's port")
    gateway_tls_key: Path | None = setting(None, description="PEM private key of that certificate")
    gateway_tls_client_ca: Path | None = setting(
        None, description="PEM authorities; callers must show a certificate of theirs"
    )
    upstream_tls_ca: Path | None = setting(
        None, check=_check_file, description="PEM authorities of the model server's certificate; TLS upstream"
    )
    upstream_tls_cert: Path | None = setting(
        None, check=_check_file, description="PEM certificate that the gateway shows the model server"
    )
    upstream_tls_key: Path | None = setting(None, check=_check_file, description="PEM private key of that certificate")
    upstream_api_key_file: Path | None = setting(
        None, description="file with the API key that the gateway shows the model server, whatever its callers show"
    )
    upstream_connections: int = setting(100, ge=1, le=10**5, description="most HTTP connections to the model server")
    data_dir: Path = setting(user_data(), description="folder of the SQLite file with the stored predictions")
    database_url: str = setting(
        "", description="postgresql+asyncpg://... for several gateways on one store; none: SQLite"
    )
    prediction_workers: int = setting(
        2, ge=0, le=MOST_THREADS, description="queued predictions that run at the same time; 0: only accept them"
    )
    prediction_lease_seconds: float = setting(
        10.0, ge=0.1, le=DAY, description="how long a job stays with a gateway that died"
    )
    prediction_retry_seconds: float = setting(
        300.0,
        ge=0,
        le=30 * DAY,
        description="how long a queued prediction waits for a model server that is away, before it fails",
    )
    prediction_job_seconds: float = setting(
        600.0, ge=0.1, le=30 * DAY, description="the most time that one queued prediction may run"
    )
    prediction_max_rows: int = setting(
        100_000, ge=0, le=10**12, description="most predictions that are kept; 0: no bound"
    )
    prediction_max_bytes: int = setting(
        10 << 30, ge=0, le=MOST_BYTES, description="most bytes of predictions and exchanges that are kept; 0: no bound"
    )
    prediction_max_age_days: float = setting(
        0.0,
        ge=0,
        le=36_500,
        check=zero_or_from(0.001),
        description="how long finished predictions are kept; 0: no bound",
    )

    def tls(self) -> Tls | None:
        """The certificates of the gateway's port; ValueError when only one of certificate and key is set."""
        names = "GATEWAY_TLS_CERT and GATEWAY_TLS_KEY"
        return tls_of(self.gateway_tls_cert, self.gateway_tls_key, self.gateway_tls_client_ca, names)

    def of_worker(self, worker: Worker) -> Self:
        """Queued predictions and connections upstream are divided too."""
        parts = {
            "prediction_workers": worker.share(self.prediction_workers),
            "upstream_connections": worker.portion(self.upstream_connections),
        }
        return super().of_worker(worker).changed(**parts)

    def target(self) -> Target:
        """Where the upstream clients go; a wildcard address of the model server means loopback."""
        host = url_host(self.model_server_host)
        scheme = "https" if self.upstream_tls_ca else "http"
        return Target(
            grpc=self.gateway_grpc_target or f"{host}:{self.model_server_grpc_port}",
            rest=self._rest_target(scheme) or f"{scheme}://{host}:{self.model_server_http_port}",
            balancing=self.upstream_balancing,
            tls_ca=self.upstream_tls_ca,
            tls_cert=self.upstream_tls_cert,
            tls_key=self.upstream_tls_key,
            max_message_bytes=self.max_message_bytes,
            connections=self.upstream_connections,
            workers=self.model_server_workers,
            api_key=upstream_key(self),
            options={
                name: str(getattr(self, name))
                for name in ServiceSettings.fields
                if name.startswith(("model_", "ort_", "strict_"))
            },
        )

    def _rest_target(self, scheme: str) -> str:
        """One host:port as the URL that it means; anything else as it is."""
        target = self.gateway_rest_target
        if not target or names_several(target) or "://" in target or target.startswith(UNIX):
            return target
        return f"{scheme}://{target}"
