"""The model repository: what is loaded, what could not be, and how both follow the disk.

Loading blocks and happens in a thread; everything that requests read is changed on the event loop by single
assignments, so a request either has the old version or the new one and never waits. A version that fails to load leaves
the one that serves alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_server import config as configuration
from model_server import layout, model, upload
from model_server.model import LoadedVersion
from model_server.onnx_session import ModelError, RuntimeOptions
from protocol.errors import Code, InferenceError, invalid
from protocol.messages import ParameterValue
from protos import inference as pb

log = logging.getLogger("crossover.repository")

Control = Literal["poll", "explicit", "none"]


@dataclass(slots=True)
class Entry:
    """One model: what serves, what failed, and the files that both were made from."""

    name: str
    folder: Path
    serving: dict[int, LoadedVersion] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Reasons by version; 0 stands for the model as a whole (its configuration)."""
    stamps: dict[int, layout.Fingerprint] = field(default_factory=dict)
    unloaded: bool = False
    uploaded: bool = False
    """Its files came with a load call and are not in the repository."""

    def latest(self) -> LoadedVersion | None:
        return self.serving[max(self.serving)] if self.serving else None


class Repository:
    """The models under one folder. Everything but `look` and loading runs on the event loop."""

    def __init__(
        self, path: Path, control: Control = "poll", poll_seconds: float = 1.0, options: RuntimeOptions | None = None
    ) -> None:
        self.path = path
        self.control = control
        self.poll_seconds = poll_seconds
        self.options = options or RuntimeOptions()
        self.entries: dict[str, Entry] = {}
        self.started = False
        self._changing = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what the control mode says, then follow the disk under `poll`. Bad models are listed, not raised."""
        found = await asyncio.to_thread(layout.look, self.path)
        for one in found.values():
            entry = self.entries.setdefault(one.name, Entry(one.name, one.folder))
            if self.control == "explicit":
                entry.unloaded = True
            else:
                await self._refresh(entry, one)
        self.started = True
        if self.control == "poll":
            self._poller = asyncio.create_task(self._follow(), name="repository poll")

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller

    def resolve(self, name: str, version: str) -> LoadedVersion:
        """The version to run: the one asked for, or the highest that is ready."""
        entry = self._known(name)
        if not version:
            latest = entry.latest()
            if latest is None:
                raise InferenceError(Code.UNAVAILABLE, f"model '{name}' is not at ready state: {self._reason(entry)}")
            return latest
        number = _version_number(version)
        loaded = entry.serving.get(number)
        if loaded is None:
            raise self._absent(entry, number)
        return loaded

    def _absent(self, entry: Entry, number: int) -> InferenceError:
        if number in entry.failed or (entry.unloaded and number in layout.versions(entry.folder)):
            reason = entry.failed.get(number, "it is unloaded")
            return InferenceError(
                Code.UNAVAILABLE, f"model '{entry.name}' version {number} is not at ready state: {reason}"
            )
        ready = ", ".join(str(version) for version in sorted(entry.serving)) or "none"
        return InferenceError(
            Code.NOT_FOUND,
            f"Request for unknown model: '{entry.name}' version {number} is not found; ready versions: {ready}",
        )

    def _known(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            raise InferenceError(Code.NOT_FOUND, f"Request for unknown model: '{name[:80]}' is not found")
        return entry

    def _reason(self, entry: Entry) -> str:
        if entry.unloaded:
            return "it is unloaded"
        return "; ".join(entry.failed.values()) or "it has no available versions"

    def ready(self, name: str, version: str) -> bool:
        """Whether a known model, or one version of it, serves; NOT_FOUND for an unknown one."""
        try:
            self.resolve(name, version)
        except InferenceError as error:
            if error.code is Code.UNAVAILABLE:
                return False
            raise
        return True

    def ready_versions(self, name: str) -> list[str]:
        return [str(number) for number in sorted(self._known(name).serving)]

    def loaded(self) -> Iterator[LoadedVersion]:
        """Every version that serves."""
        for entry in list(self.entries.values()):
            yield from list(entry.serving.values())

    def index(self, ready_only: bool) -> pb.RepositoryIndexResponse:
        models = [line for name in sorted(self.entries) for line in _index_lines(self.entries[name])]
        return pb.RepositoryIndexResponse(models=[line for line in models if not ready_only or line.state == "READY"])

    async def load(self, name: str, parameters: Mapping[str, ParameterValue | bytes]) -> None:
        """Load a model, or load it again; INVALID_ARGUMENT with the reason when that is not possible."""
        self._refuse_when_fixed("load")
        if parameters:
            await self._load_uploaded(name, parameters)
            return
        found = (await asyncio.to_thread(layout.look, self.path)).get(name)
        if found is None:
            raise InferenceError(Code.NOT_FOUND, f"model '{name[:80]}' is not in the repository")
        entry = self.entries.setdefault(name, Entry(name, found.folder))
        entry.folder, entry.uploaded = found.folder, False
        await self._refresh(entry, found)
        _raise_when_nothing_serves(entry)

    async def _load_uploaded(self, name: str, parameters: Mapping[str, ParameterValue | bytes]) -> None:
        try:
            config, folder = await asyncio.to_thread(upload.unpack, name, self.path, parameters)
        except ModelError as error:
            raise invalid(f"model '{name[:80]}' can't be loaded: {error}") from error
        found = layout.Found(name, folder, {v: layout.fingerprint(folder, v) for v in layout.versions(folder)})
        entry = self.entries.setdefault(name, Entry(name, folder))
        entry.folder, entry.uploaded = folder, True
        await self._refresh(entry, found, config)
        _raise_when_nothing_serves(entry)

    async def unload(self, name: str) -> None:
        """Stop serving a model; requests in flight end well. It stays away until `load` or until its files change."""
        self._refuse_when_fixed("unload")
        entry = self.entries.get(name)
        if entry is None:
            raise invalid(f"model '{name[:80]}' can't be unloaded: it is not served")
        async with self._changing:
            entry.unloaded, entry.serving = True, {}

    def _refuse_when_fixed(self, what: str) -> None:
        if self.control == "none":
            raise InferenceError(
                Code.FAILED_PRECONDITION, f"{what} is refused: this server runs with MODEL_CONTROL=none"
            )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.poll_seconds)
            try:
                await self._compare(await asyncio.to_thread(layout.look, self.path))
            except OSError as error:
                log.warning("the model repository can't be read: %s", error.strerror)

    async def _compare(self, found: dict[str, layout.Found]) -> None:
        for name, one in found.items():
            entry = self.entries.get(name)
            if entry is None:
                entry = self.entries[name] = Entry(name, one.folder)
            elif entry.uploaded or entry.stamps == one.stamps:
                continue
            await self._refresh(entry, one)
        for name in [name for name, entry in self.entries.items() if name not in found and not entry.uploaded]:
            log.info("model '%s' is gone from the repository", name)
            del self.entries[name]

    async def _refresh(self, entry: Entry, found: layout.Found, given: pb.ModelConfig | None = None) -> None:
        """Bring what serves in line with the files; whatever fails leaves what serves as it is."""
        async with self._changing:
            try:
                config = given if given is not None else await asyncio.to_thread(configuration.read, found.folder)
            except ModelError as error:
                entry.failed = {0: str(error)}
                entry.stamps = found.stamps
                log.warning("model '%s' is unavailable: %s", entry.name, error)
                return
            ignored = configuration.unhonoured(config)
            if ignored:
                log.info("model '%s': %s in config.pbtxt is not honoured", entry.name, ", ".join(ignored))
            serving, failed = await self._open(entry, found, config)
            entry.serving, entry.failed, entry.stamps, entry.unloaded = serving, failed, found.stamps, False

    async def _open(
        self, entry: Entry, found: layout.Found, config: pb.ModelConfig
    ) -> tuple[dict[int, LoadedVersion], dict[int, str]]:
        """What will serve and what failed. Under `latest`, an older version serves while the newest can't."""
        wanted = configuration.wanted_versions(config, list(found.stamps))
        serving: dict[int, LoadedVersion] = {}
        failed: dict[int, str] = {}
        for number in wanted:
            await self._open_one(entry, found, config, number, serving, failed)
        if failed and config.version_policy.WhichOneof("policy_choice") in {None, "latest"}:
            for number in sorted(set(found.stamps) - set(wanted), reverse=True):
                if len(serving) >= len(wanted):
                    break
                await self._open_one(entry, found, config, number, serving, failed)
        if not found.stamps:
            failed[0] = "it has no version folder"
        return serving, failed

    async def _open_one(
        self, entry: Entry, found: layout.Found, config: pb.ModelConfig, number: int,
        serving: dict[int, LoadedVersion], failed: dict[int, str],
    ) -> None:  # fmt: skip
        present = entry.serving.get(number)
        if present is not None and entry.stamps.get(number) == found.stamps[number] and not entry.uploaded:
            serving[number] = present
            return
        try:
            loaded = await asyncio.to_thread(model.load, entry.name, found.folder, number, config, self.options)
        except ModelError as error:
            failed[number] = str(error)
            log.warning("model '%s' version %d is unavailable: %s", entry.name, number, error)
            if present is not None:
                serving[number] = present
            return
        if present is not None:
            loaded.statistics = present.statistics
        serving[number] = loaded
        log.info("model '%s' version %d is ready", entry.name, number)


def _index_lines(entry: Entry) -> Iterator[pb.RepositoryIndexResponse.ModelIndex]:
    line = pb.RepositoryIndexResponse.ModelIndex
    if entry.unloaded:
        for number in layout.versions(entry.folder):
            yield line(name=entry.name, version=str(number), state="UNAVAILABLE", reason="unloaded")
        return
    for number in sorted({*entry.serving, *entry.failed}):
        reason = entry.failed.get(number, "")
        version = str(number) if number else ""
        yield line(name=entry.name, version=version, state="UNAVAILABLE" if reason else "READY", reason=reason)


def _raise_when_nothing_serves(entry: Entry) -> None:
    if entry.failed:
        raise invalid(f"model '{entry.name}' can't be loaded: {'; '.join(entry.failed.values())}")


def _version_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise invalid(f"model version '{text[:40]}' is not an integer, 0 or more")
    return int(text)
