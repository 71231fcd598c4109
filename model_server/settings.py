"""The model server's settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from crossover.service.declared import setting
from crossover.service.settings import RepositoryControl, ServiceSettings, rate_burst, rate_limit, switch, tls_of

if TYPE_CHECKING:
    from crossover.model_server.engine import Engine
    from crossover.transport.tls import Tls


class ModelServerSettings(ServiceSettings):
    """Both ports' certificates, beside what both services have."""

    title: ClassVar[str] = "The model server"
    tables: ClassVar[tuple[str, ...]] = ("model_server",)

    model_server_grpc_library: Literal["grpcio", "lean"] = setting(
        "grpcio",
        description="what answers gRPC: grpcio, or HTTP/2 of our own at half its CPU or less (docs/performance.md)",
    )
    model_server_unix_sockets: Path | None = setting(
        None, description="folder for grpc.sock and rest.sock, plain, for callers on the same host who may write there"
    )
    model_server_repository_control: RepositoryControl = setting(
        "auto",
        spelled=switch,
        description="allow load and unload through the model server's ports: 1, 0 (403), or auto, which is 1 where only this "
        "host, an API key or a client certificate gets in",
    )
    model_server_shared_memory: RepositoryControl = setting(
        "auto",
        spelled=switch,
        description="let requests name tensors in this host's shared memory: 1, 0 (403), or auto, which is 1 where only this "
        "host gets in",
    )
    model_server_rate_limit: float = rate_limit("the model server")
    model_server_rate_burst: int = rate_burst("MODEL_SERVER_RATE_LIMIT")
    model_server_tls_cert: Path | None = setting(
        None, description="PEM certificate chain of both of the model server's ports"
    )
    model_server_tls_key: Path | None = setting(None, description="PEM private key of that certificate")
    model_server_tls_client_ca: Path | None = setting(
        None, description="PEM authorities; callers must show a certificate of theirs"
    )

    def tls(self) -> Tls | None:
        return tls_of(
            self.model_server_tls_cert, self.model_server_tls_key, self.model_server_tls_client_ca,
            "MODEL_SERVER_TLS_CERT and MODEL_SERVER_TLS_KEY",
        )  # fmt: skip


def engine_of(settings: ServiceSettings) -> Engine:
    """An engine over the repository that the settings name, not started; ValueError when there is no such folder or provider.

    ONNX Runtime is imported here and not above, so that whoever only reads settings does without it.
    """
    from crossover.model_server.engine import Engine
    from crossover.model_server.executor import Executor
    from crossover.model_server.onnx_session import check_providers
    from crossover.model_server.repository import Repository
    from crossover.model_server.runtime_options import RuntimeOptions

    path = settings.model_repository
    if not path.is_dir():
        raise ValueError(f"the model repository '{path}' is not a folder (MODEL_REPOSITORY)")
    providers = tuple(name.strip() for name in settings.ort_providers.split(",") if name.strip())
    check_providers(providers)
    options = RuntimeOptions(
        settings.ort_intra_op_threads, settings.ort_inter_op_threads, settings.ort_graph_optimization, providers,
        settings.model_batching, arena=settings.ort_memory_arena,
        isolated=settings.model_isolation == "process", memory=settings.model_memory_bytes,
    )  # fmt: skip
    repository = Repository(
        path, settings.model_control, settings.model_poll_seconds, options, strict_readiness=settings.strict_readiness
    )
    executor = Executor(settings.model_workers, settings.model_max_queue)
    return Engine(repository, executor, settings.response_cache_bytes, settings.max_message_bytes)
