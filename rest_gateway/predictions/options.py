"""The settings that predictions read, in one place and in their own units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.rest_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionOptions:
    """What the gateway's settings say about predictions."""

    data_dir: Path
    """Where the SQLite file lives when there is no `database_url`."""
    port: int
    """The gateway's port: part of the file's name, so that copies run side by side."""
    database_url: str | None = None
    model_repository: Path | None = None
    """Where labels and samples of models are found, when this host has the repository."""
    max_message_bytes: int = 64 << 20
    default_timeout_ms: int | None = None
    upstream_choice: bool = True
    """Whether a request may choose its upstream, by header or body."""
    timing: bool = False
    """Send `Server-Timing`."""
    keys: bool = False
    """Whether callers need API keys, so that not all of them may see the same."""
    workers: int = 2
    """Queued predictions that run at the same time; 0: this gateway only accepts them."""
    lease_seconds: float = 10.0
    """How long a job stays with a gateway that no longer prolongs its lease."""
    retry_seconds: float = 300.0
    """How long a queued prediction waits for a model server that is away."""
    job_seconds: float = 600.0
    """The most time that one queued prediction may run."""
    max_rows: int = 100_000
    """Most predictions that are kept, 0 for no bound; the oldest finished ones go first."""
    max_bytes: int = 0
    """Most bytes of predictions and exchanges that are kept, 0 for no bound; the oldest finished ones go first."""
    max_age_days: float = 0.0
    """How long finished predictions are kept, 0 for no bound."""

    @classmethod
    def of(cls, settings: GatewaySettings) -> PredictionOptions:
        return cls(
            data_dir=settings.data_dir,
            port=settings.gateway_port,
            database_url=settings.database_url or None,
            model_repository=settings.model_repository,
            max_message_bytes=settings.max_message_bytes,
            default_timeout_ms=settings.default_timeout_ms,
            upstream_choice=settings.gateway_upstream_header,
            timing=settings.gateway_timing,
            keys=settings.api_keys_file is not None,
            workers=settings.prediction_workers,
            lease_seconds=settings.prediction_lease_seconds,
            retry_seconds=settings.prediction_retry_seconds,
            job_seconds=settings.prediction_job_seconds,
            max_rows=settings.prediction_max_rows,
            max_bytes=settings.prediction_max_bytes,
            max_age_days=settings.prediction_max_age_days,
        )
