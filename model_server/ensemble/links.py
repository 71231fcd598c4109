"""Keeps the repository's ensembles in line with the models that they are made of: after each change every one is linked anew.

An ensemble serves when all its parts do. One whose parts are the same as before stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from crossover.model_server import config as configuration
from crossover.model_server.ensemble.version import LoadedEnsemble, link
from crossover.model_server.entry import WHOLE, Entry
from crossover.model_server.model_error import ModelError
from crossover.model_server.served import ServedVersion
from crossover.protocol.errors import InferenceError
from crossover.protos import inference as pb

log = logging.getLogger("crossover.repository")


def link_all(entries: Mapping[str, Entry]) -> None:
    """Link every ensemble of the repository."""
    links = _Links(entries)
    for entry in entries.values():
        links.bring_in_line(entry)


def part_names(config: pb.ModelConfig) -> list[str]:
    """The models that an ensemble's steps name."""
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def parts_only_of(name: str, entries: Mapping[str, Entry]) -> list[str]:
    """The parts that an ensemble's load brought along, and theirs, as far as no other ensemble needs them."""
    gone = [name]
    for one in gone:  # which grows
        config = entries[one].ensemble
        for part in part_names(config) if config is not None else ():
            if part in entries and entries[part].along and part not in gone and not _needed(part, gone, entries):
                gone.append(part)
    return gone[1:]


def _needed(part: str, gone: list[str], entries: Mapping[str, Entry]) -> bool:
    return any(
        entry.ensemble is not None
        and not entry.unloaded
        and entry.name not in gone
        and part in part_names(entry.ensemble)
        for entry in entries.values()
    )


def tell(entry: Entry) -> None:
    """Log what has become of an ensemble, when that is not what was logged last."""
    state = entry.failures() or f"ready in {', '.join(str(number) for number in sorted(entry.serving))}"
    if entry.ensemble is None or state == entry.told:
        return
    entry.told = state
    if entry.failed:
        log.warning("ensemble '%s' is unavailable: %s", entry.name, state)
    else:
        log.info("ensemble '%s' is ready", entry.name)


class _Links:
    """One pass."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._done: set[str] = set()
        self._under_way: list[str] = []

    def bring_in_line(self, entry: Entry) -> None:
        if entry.ensemble is None or entry.unloaded or entry.name in self._done:
            return
        self._under_way.append(entry.name)
        serving: dict[int, ServedVersion] = {}
        failed: dict[int, str] = {}
        present = list(entry.stamps)
        for number in configuration.wanted_versions(entry.ensemble, present):
            try:
                serving[number] = self._version(entry, entry.ensemble, number)
            except ModelError as error:
                failed[number] = str(error)
        for number in configuration.absent_versions(entry.ensemble, present):
            failed[number] = f"version_policy names it, but there is no folder '{number}'"
        if not present:
            failed[WHOLE] = "it has no version folder"
        elif entry.misread:
            failed[WHOLE] = entry.misread
        entry.serving, entry.failed = serving, failed
        self._under_way.pop()
        self._done.add(entry.name)

    def _version(self, entry: Entry, config: pb.ModelConfig, number: int) -> ServedVersion:
        linked = link(config, number, entry.labels, self._find)
        present = entry.serving.get(number)
        if present is not None:
            if isinstance(present, LoadedEnsemble) and linked.is_like(present):
                return present
            linked.statistics = present.statistics
        return linked

    def _find(self, name: str, version: str) -> ServedVersion:
        if name in self._under_way:
            way = " -> ".join([*self._under_way[self._under_way.index(name) :], name])
            raise ModelError(f"the ensembles contain each other: {way}")
        entry = self._entries.get(name)
        if entry is None:
            raise ModelError("there is no such model in the repository")
        self.bring_in_line(entry)
        try:
            return entry.resolve(version)
        except InferenceError as error:
            raise ModelError(error.message) from error
