"""The model repository: what is loaded, what could not be, and how both follow the disk.

Loading blocks and happens in a thread; everything that requests read is changed on the event loop by single
assignments, so a request either has the old version or the new one and never waits. Whoever changes a model holds one
lock and looks at its files again under it, so that a poll, a load and an unload that meet never act on an old look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from crossover.model_server import classification, layout, onnx_file, upload
from crossover.model_server import config as configuration
from crossover.model_server.ensemble import links
from crossover.model_server.ensemble.graph import is_ensemble
from crossover.model_server.entry import WHOLE, Entry
from crossover.model_server.model_error import ModelError
from crossover.model_server.opening import Opening
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.model_server.served import ServedVersion
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.messages import ParameterValue
from crossover.protocol.names import check_model_name
from crossover.protos import inference as pb
from crossover.service import process

log = logging.getLogger("crossover.repository")

Control = Literal["poll", "explicit", "none"]
_LET_GO_SECONDS = (1.0, 10.0)
"""When memory is given back after an unload: soon, and once more for what a run in flight still held then."""


class Repository:
    """The models under one folder. Everything but looking and loading runs on the event loop."""

    def __init__(
        self,
        path: Path,
        control: Control = "poll",
        poll_seconds: float = 1.0,
        options: RuntimeOptions | None = None,
        *,
        strict_readiness: bool = False,
    ) -> None:
        self.path = path
        self.control = control
        self.poll_seconds = poll_seconds
        self.options = options or RuntimeOptions()
        self.strict_readiness = strict_readiness
        self.entries: dict[str, Entry] = {}
        self.started = False
        """Whether the repository has been read. Until then nothing can be said of what is not there yet: UNAVAILABLE."""
        self.on_change: Callable[[Iterator[ServedVersion]], None] = lambda _: None
        """Called with everything that serves, whenever that has changed."""
        self._changing = asyncio.Lock()
        self._shrinking: dict[str, dict[int, layout.Fingerprint]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._giving_back: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        """Load what the control mode says, then follow the disk under `poll`. Bad models are listed, not raised."""
        await asyncio.to_thread(onnx_file.sweep)
        if self.control == "explicit":
            await self.discover()
        else:
            await self._compare()
        self.started = True
        if self.control == "poll":
            self._poller = asyncio.create_task(self._follow(), name="repository poll")

    async def close(self) -> None:
        self._cancel_giving_back()
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller

    def resolve(self, name: str, version: str) -> ServedVersion:
        """The version to run: the one asked for, or the highest that is ready."""
        entry = self.entries.get(name)
        return (entry if entry is not None else self._known(name)).resolve(version)

    @property
    def is_ready(self) -> bool:
        """Whether the server may call itself ready: the repository has been read.

        With strict readiness every model must serve too, but for those that somebody unloaded (Triton's
        --strict-readiness).
        """
        return self.started and (not self.strict_readiness or all(entry.is_ready for entry in self.entries.values()))

    def _known(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            self.check_started()
            if not name:
                raise invalid("the request names no model; it takes the name of one")
            check_model_name(name)
            raise InferenceError(Code.NOT_FOUND, f"Request for unknown model: '{name[:80]}' is not found")
        return entry

    def check_started(self) -> None:
        """UNAVAILABLE until the repository has been read."""
        if not self.started:
            raise InferenceError(Code.UNAVAILABLE, "the model repository is being read; try again")

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

    def loaded(self) -> Iterator[ServedVersion]:
        """Every version that serves."""
        for entry in list(self.entries.values()):
            yield from list(entry.serving.values())

    def index(self, ready_only: bool) -> pb.RepositoryIndexResponse:
        self.check_started()
        models = [line for name in sorted(self.entries) for line in self.entries[name].lines()]
        return pb.RepositoryIndexResponse(models=[line for line in models if not ready_only or line.state == "READY"])

    async def discover(self) -> None:
        """Under `explicit`: models that came or went on disk are listed or forgotten; nothing is loaded."""
        if self.control != "explicit":
            return
        async with self._changing:
            models = await asyncio.to_thread(layout.look, self.path)
            for name, files in models.items():
                entry = self.entries.setdefault(name, Entry(name, files.folder, unloaded=True))
                if entry.unloaded:
                    entry.stamps = files.stamps
            for name in [name for name, entry in self.entries.items() if entry.unloaded and name not in models]:
                del self.entries[name]

    async def load(self, name: str, parameters: Mapping[str, ParameterValue | bytes]) -> None:
        """Load a model, or load it again; INVALID_ARGUMENT with the reason when that is not possible."""
        self._refuse_when_fixed("load")
        if parameters:
            await self._load_given(name, parameters)
            return
        async with self._changing:
            if not await self._load_here(name, set()):
                raise InferenceError(
                    Code.NOT_FOUND, f"failed to load '{name[:80]}': there is no such model in the repository"
                )
            self._tell_of_ensembles()
            _raise_when_failed(self.entries[name])

    async def _load_here(self, name: str, begun: set[str]) -> bool:
        """Load what lies on disk, and before an ensemble those of its parts that are not loaded; False for no such model."""
        begun.add(name)
        files = await self._look_at(name)
        if files is None:
            return False
        entry = self.entries.setdefault(name, Entry(name, files.folder, loading=True))
        entry.folder, entry.along = files.folder, False
        await self._refresh(entry, files, None)
        if entry.ensemble is not None:
            for part in links.part_names(entry.ensemble):
                present = self.entries.get(part)
                if part not in begun and (present is None or not present.serving):
                    await self._load_here(part, begun)
                    if part in self.entries:
                        self.entries[part].along = True
        return True

    async def _load_given(self, name: str, parameters: Mapping[str, ParameterValue | bytes]) -> None:
        """Load with the configuration, and perhaps the files, that the call brings: all of it or nothing."""
        try:
            uploaded = await asyncio.to_thread(upload.read, name, parameters)
        except ModelError as error:
            raise invalid(f"failed to load '{name[:80]}': {_of_parameter(str(error))}") from error
        async with self._changing:
            with upload.written(name, uploaded.files) as folder:
                files = await self._look_at(name) if folder is None else layout.look_inside(folder)
                if files is None:
                    raise InferenceError(
                        Code.NOT_FOUND, f"failed to load '{name[:80]}': there is no such model in the repository"
                    )
                trial = Entry(name, self.path / name, stamps=files.stamps)
                if is_ensemble(uploaded.config):
                    trial.ensemble, trial.labels = uploaded.config, await _labels(uploaded.config, files.folder)
                    links.link_all({**self.entries, name: trial})
                else:
                    opened = await Opening(files, uploaded.config, self.options, {}, set()).run()
                    trial.serving, trial.failed = opened.serving, opened.failed
            trial.failed = {number: _of_parameter(reason) for number, reason in trial.failed.items()}
            _raise_when_failed(trial)
            trial.given, trial.uploaded = uploaded.config, folder is not None
            self.entries[name] = trial
            _tell_ignored(name, uploaded.ignored)
            self._changed()

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Stop serving a model; requests in flight end well. It stays away until `load` or until its files change.

        `dependents`: and, of an ensemble, the parts that its load brought along, unless another ensemble has them too.
        """
        self._refuse_when_fixed("unload")
        async with self._changing:
            entry = self.entries.get(name)
            if entry is None:
                raise invalid(f"failed to unload '{name[:80]}': it is not served")
            gone = [name, *(links.parts_only_of(name, self.entries) if dependents else ())]
            for model in gone:
                await self._forget(model)
            self._changed()
            self._tell_of_ensembles()
            self._give_memory_back()
        for model in gone:
            log.info("model '%s' is unloaded", model)

    async def _forget(self, name: str) -> None:
        files = await self._look_at(name)
        if files is None:
            del self.entries[name]
        else:
            self.entries[name] = Entry(name, files.folder, stamps=files.stamps, unloaded=True)

    def _refuse_when_fixed(self, what: str) -> None:
        self.check_started()
        if self.control == "none":
            raise InferenceError(
                Code.FAILED_PRECONDITION, f"{what} is refused: this server runs with MODEL_CONTROL=none"
            )

    async def _look_at(self, name: str) -> layout.ModelFiles | None:
        return await asyncio.to_thread(layout.look_at, self.path, name)

    async def _follow(self) -> None:
        """Compare until cancelled. Nothing that a repository holds may end this."""
        while True:
            await asyncio.sleep(self.poll_seconds)
            try:
                await self._compare()
            except OSError as error:
                log.warning("the model repository can't be read: %s", error.strerror)
            except Exception:
                log.exception("the model repository can't be followed; the next look is in %g s", self.poll_seconds)

    async def _compare(self) -> None:
        """Bring every model in line with its files, if these have changed."""
        models = await asyncio.to_thread(layout.look, self.path)
        for name in sorted({*models, *self.entries}):
            stamps = models[name].stamps if name in models else None
            entry = self.entries.get(name)
            if (entry.stamps if entry else None) != stamps and self._settled(name, entry, stamps or {}):
                async with self._changing:
                    await self._follow_one(name)
        self._tell_of_ensembles()

    def _settled(self, name: str, entry: Entry | None, stamps: dict[int, layout.Fingerprint]) -> bool:
        """A removal counts when two looks in a row see the same: what is being replaced is away for a moment."""
        if entry is None or entry.stamps.keys() <= stamps.keys() or self._shrinking.get(name) == stamps:
            self._shrinking.pop(name, None)
            return True
        self._shrinking[name] = stamps
        return False

    async def _follow_one(self, name: str) -> None:
        entry, files = self.entries.get(name), await self._look_at(name)
        if entry is not None and entry.uploaded:
            return
        if files is None:
            if self.entries.pop(name, None) is not None:
                log.info("model '%s' is gone from the repository", name)
                self._changed()
                self._give_memory_back()
        elif entry is None:
            entry = self.entries[name] = Entry(name, files.folder, loading=True)
            await self._refresh(entry, files, None)
        elif entry.stamps != files.stamps:
            await self._refresh(entry, files, entry.given)

    async def _refresh(self, entry: Entry, files: layout.ModelFiles, given: pb.ModelConfig | None) -> None:
        """Bring what serves in line with the files; whatever fails leaves what serves as it is."""
        try:
            config = given if given is not None else await asyncio.to_thread(_read_config, files)
        except ModelError as error:
            entry.failed, entry.stamps, entry.unloaded = {WHOLE: str(error)}, files.stamps, False
            entry.loading, entry.misread = False, str(error)
            log.warning("model '%s' is unavailable: %s", entry.name, error)
            return
        entry.misread = ""
        if is_ensemble(config):
            await self._refresh_ensemble(entry, files, config, given)
            return
        same_source = entry.given is given and not entry.uploaded
        unchanged = {
            number for number, stamp in files.stamps.items()
            if same_source and number not in entry.failed and entry.stamps.get(number) == stamp
        }  # fmt: skip
        opened = await Opening(files, config, self.options, entry.serving, unchanged).run()
        entry.serving, entry.failed, entry.stamps = opened.serving, opened.failed, files.stamps
        entry.given, entry.uploaded, entry.unloaded, entry.loading = given, False, False, False
        entry.ensemble = None
        self._changed()

    async def _refresh_ensemble(
        self, entry: Entry, files: layout.ModelFiles, config: pb.ModelConfig, given: pb.ModelConfig | None
    ) -> None:
        try:
            labels = await asyncio.to_thread(classification.labels_of, config, files.folder)
        except ModelError as error:
            labels, entry.misread = {}, str(error)
        entry.ensemble, entry.labels, entry.stamps = config, labels, files.stamps
        entry.given, entry.uploaded, entry.unloaded, entry.loading = given, False, False, False
        self._changed()

    def _changed(self) -> None:
        """Something serves that did not, or the other way round."""
        links.link_all(self.entries)
        self.on_change(self.loaded())

    def _give_memory_back(self) -> None:
        """To the system, once a model's last requests have let go of it."""
        loop = asyncio.get_running_loop()
        self._cancel_giving_back()
        self._giving_back = [
            loop.call_later(seconds, loop.run_in_executor, None, process.give_memory_back)
            for seconds in _LET_GO_SECONDS
        ]

    def _cancel_giving_back(self) -> None:
        for handle in self._giving_back:
            handle.cancel()

    def _tell_of_ensembles(self) -> None:
        """Once all that belongs to a change is done: on the way to it an ensemble may lack parts for a moment."""
        for entry in self.entries.values():
            links.tell(entry)


def _read_config(files: layout.ModelFiles) -> pb.ModelConfig:
    try:
        config, ignored = configuration.read(files.folder)
    except ModelError:
        raise
    except Exception as error:  # no file that a model brings may keep the others from being loaded
        log.exception("model '%s'", files.name)
        raise ModelError(f"{configuration.CONFIG_FILE} can't be understood") from error
    _tell_ignored(files.name, ignored)
    return config


def _tell_ignored(name: str, ignored: list[str]) -> None:
    if ignored:
        log.info("model '%s': these settings of config.pbtxt are not honoured here: %s", name, "; ".join(ignored))


async def _labels(config: pb.ModelConfig, folder: Path) -> classification.Labels:
    """Of an ensemble whose configuration came with the call; INVALID_ARGUMENT when they can't be read."""
    try:
        return await asyncio.to_thread(classification.labels_of, config, folder)
    except ModelError as error:
        raise invalid(f"failed to load '{config.name[:80]}': {error}") from error


def _of_parameter(reason: str) -> str:
    """A reason of a configuration that came with the call, which is in no file."""
    return reason.replace(configuration.CONFIG_FILE, "parameter 'config'")


def _raise_when_failed(entry: Entry) -> None:
    if entry.failed:
        raise invalid(f"failed to load '{entry.name}': {entry.failures()}")
