"""A port's `Door`, from the settings."""

from __future__ import annotations

import ipaddress
import logging
import math
from typing import TYPE_CHECKING

from crossover.protocol.wires import UNIX
from crossover.service.doors import keys
from crossover.service.doors.buckets import TokenBuckets
from crossover.service.doors.door import Door
from crossover.service.doors.forwarded import Forwarded
from crossover.service.doors.hosts import AllowedHosts, is_loopback_name
from crossover.service.doors.origins import Origins
from crossover.transport.reread import Reread

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.service.settings import ServiceSettings
    from crossover.transport.tls import Tls

log = logging.getLogger("crossover.doors")


def door_of(settings: ServiceSettings, service: str) -> Door:
    """The door of a service's ports; `service` begins its settings' names. KeysFileError when the keys cannot be used.

    The model server's callers and the gateway's are counted apart: the gateway is one caller there, for all of its own.
    """
    path = settings.api_keys_file
    ring = Reread([path], lambda: keys.read(path), "the API keys").value if path is not None else None
    if ring is not None and not ring().keys:
        log.warning("API_KEYS_FILE has no keys: health alone is answered")
    return Door(
        AllowedHosts(settings.allowed_hosts.split(","), bound=getattr(settings, f"{service}_host")),
        Origins(settings.cors_allow_origins.split(",")),
        Forwarded(settings.forwarded_allow_ips.split(",")),
        ring,
        _buckets(getattr(settings, f"{service}_rate_limit"), getattr(settings, f"{service}_rate_burst")),
        f"{service}_rate_limit".upper(),
    )


def _buckets(rate: float, burst: int) -> TokenBuckets | None:
    return TokenBuckets(rate, burst or max(1, math.ceil(rate))) if rate else None


def upstream_key(settings: ServiceSettings) -> Callable[[], str] | None:
    """The key that this service shows another one, asked for at each call since its file may change."""
    path = getattr(settings, "upstream_api_key_file", None)
    return Reread([path], lambda: keys.read_own(path), "the upstream's API key").value if path is not None else None


def is_guarded(settings: ServiceSettings, host: str, tls: Tls | None) -> bool:
    """Whether a port on `host` is limited to this host, or to callers with a key or a certificate."""
    return is_loopback(host) or settings.api_keys_file is not None or (tls is not None and tls.ca is not None)


def is_loopback(host: str) -> bool:
    """Whether a port bound to `host` is reached from this host alone."""
    if host.startswith(UNIX) or is_loopback_name(host.lower().removesuffix(".")):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def controls(setting: str, settings: ServiceSettings, host: str, tls: Tls | None) -> bool:
    """Whether models may be loaded and unloaded through a port: `setting` is auto, 1 or 0."""
    return is_guarded(settings, host, tls) if setting == "auto" else setting == "1"


def warn_when_open(settings: ServiceSettings, host: str, tls: Tls | None, name: str) -> None:
    """Log a warning for a port that other hosts reach and that needs neither a key nor a certificate."""
    if not is_guarded(settings, host, tls):
        log.warning(
            "%s is bound to '%s' without API keys or client certificates: everybody who reaches it may use it "
            "(API_KEYS_FILE, %s_TLS_CLIENT_CA)", name, host, name.upper().replace(" ", "_"),
        )  # fmt: skip
