"""Private interfaces of other libraries, each used behind a check of the release that it was tested with.

A `FastPath` names one such use. Where the installed release is another one the caller takes the public way, which costs
more and answers the same, and that is said: once in the log, in the metric `crossover_fast_path`, and in the provenance of
the lab's runs. Each room declares its own (`transport/grpcio/release.py` has grpcio's).
"""

from __future__ import annotations

import logging
import sys
from functools import cache

log = logging.getLogger("crossover.fast_path")

FAST_PATHS: dict[str, FastPath] = {}
"""Every fast path of the modules that this process has imported, by its name."""


_MODULES = {"grpcio": "grpc"}
"""Modules whose name is not their distribution's."""


@cache  # reading a distribution's metadata takes milliseconds, and whoever asks is on an event loop
def installed(package: str) -> str:
    """The version of an installed distribution; empty when there is none."""
    imported = sys.modules.get(_MODULES.get(package, package))
    if (version := getattr(imported, "__version__", None)) is not None:
        return str(version)
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


class FastPath:
    """One use of what `package` does not promise, and the releases that it was tested with."""

    def __init__(self, name: str, package: str, *releases: str) -> None:
        """`releases` are prefixes of version numbers, such as ``1.85.``."""
        self.name = name
        self.package = package
        self.releases = releases
        self._warned = False
        FAST_PATHS[name] = self

    @property
    def on(self) -> bool:
        """Whether the installed release is one of those."""
        return installed(self.package).startswith(self.releases)

    def check(self) -> bool:
        """As `on`, for whoever is about to take the path; the first refusal is a line in the log."""
        on = self.on
        if not on and not self._warned:
            self._warned = True
            log.warning(
                "fast path '%s' is off: it was tested with %s %s, and %s is installed; the public interface is used instead, "
                "which costs more CPU",
                self.name, self.package, ", ".join(f"{release}x" for release in self.releases),
                installed(self.package) or "none",
            )  # fmt: skip
        return on
