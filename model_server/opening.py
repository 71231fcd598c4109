"""From a model's files to what will serve: which versions are opened, which are kept, which failed and why."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from crossover.model_server import config as configuration
from crossover.model_server import layout, model
from crossover.model_server.entry import WHOLE
from crossover.model_server.model_error import ModelError
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.model_server.served import ServedVersion
from crossover.protos import inference as pb

log = logging.getLogger("crossover.repository")


@dataclass(slots=True)
class Opened:
    """What came of it."""

    serving: dict[int, ServedVersion] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


class Opening:
    """One pass over one model's files. `present` serves now; `unchanged` of these need not be opened again."""

    def __init__(
        self, found: layout.ModelFiles, config: pb.ModelConfig, options: RuntimeOptions,
        present: dict[int, ServedVersion], unchanged: set[int],
    ) -> None:  # fmt: skip
        self._found = found
        self._config = config
        self._options = options
        self._present = present
        self._unchanged = unchanged
        self._opened = Opened()

    async def run(self) -> Opened:
        """Open what the version policy wants. What fails leaves the version that serves in its place, and when nothing
        could be opened, everything that serves; under `latest` an older version stands in for one that can't be opened.
        """
        opened, present = self._opened, list(self._found.stamps)
        numbers = configuration.wanted_versions(self._config, present)
        for number in numbers:
            await self._open(number)
        if opened.failed and self._config.version_policy.WhichOneof("policy_choice") in {None, "latest"}:
            for number in sorted(set(present) - set(numbers), reverse=True):
                if len(opened.serving) >= len(numbers):
                    break
                await self._open(number)
        if opened.failed and not opened.serving:
            opened.serving = dict(self._present)
        for number in configuration.absent_versions(self._config, present):
            opened.failed[number] = f"version_policy names it, but there is no folder '{number}'"
        if not present:
            opened.failed[WHOLE] = "it has no version folder"
        return opened

    async def _open(self, number: int) -> None:
        present = self._present.get(number)
        if present is not None and number in self._unchanged:
            self._opened.serving[number] = present
            return
        name = self._found.name
        try:
            loaded = await asyncio.to_thread(model.load, name, self._found.folder, number, self._config, self._options)
        except ModelError as error:
            self._opened.failed[number] = str(error)
            log.warning("model '%s' version %d is unavailable: %s", name, number, error)
            if present is not None:
                self._opened.serving[number] = present
            return
        if present is not None:
            loaded.statistics = present.statistics
        self._opened.serving[number] = loaded
        log.info("model '%s' version %d is ready", name, number)
