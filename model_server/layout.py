"""The repository on disk: which models and versions there are, and what would tell that one has changed.

Layout (Triton's): `<name>/<version>/model.onnx`, with an optional `config.pbtxt` beside the versions. A version folder
is a number of at most 63 bits without leading zeros; other folders are ignored. `model.onnx` may be a folder that holds
the file of that name and its external data.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from crossover.model_server.config import CONFIG_FILE, DEFAULT_FILE
from crossover.model_server.model_error import ModelError
from crossover.protocol.names import is_clean

log = logging.getLogger("crossover.repository")

MOST_VERSION = (1 << 63) - 1
"""A version is a positive int64 (ModelConfig, and Triton's folders)."""
_PLAIN = re.compile(r"[^/\\\0]{1,255}")
"""A name that stays in its folder, unless it is '.' or '..'."""

Fingerprint = tuple[tuple[str, int, int, int, int], ...]
"""Name, size, modification and change time in ns, and inode of every file that belongs to a version."""


def model_folders(repository: Path) -> dict[str, Path]:
    """Every folder with a version in it, or with a config.pbtxt, by the model's name."""
    names = sorted(entry.name for entry in os.scandir(repository) if not entry.name.startswith(".") and entry.is_dir())
    return {name: repository / name for name in names if _is_model(repository / name)}


def _is_model(folder: Path) -> bool:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        _tell_once(f"a folder of the repository is left out, since its name is not UTF-8: {folder.name!a}")
        return False
    if not is_clean(folder.name):
        _tell_once(f"a folder of the repository is left out, since its name has control characters: {folder.name!a}")
        return False
    try:
        return (folder / CONFIG_FILE).exists() or bool(versions(folder))
    except OSError as error:
        _tell_once(f"model '{folder.name}' is left out, since its folder can't be read: {error.strerror}")
        return False


@functools.cache
def _tell_once(sentence: str) -> None:
    log.warning("%s", sentence)


def versions(folder: Path) -> list[int]:
    """Version numbers in a model's folder, ascending."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []
    numbers = [int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0")]
    return sorted(number for number in numbers if number <= MOST_VERSION)


def model_file(folder: Path, version: int, file_name: str) -> Path:
    """The ONNX file of a version; ModelError when it is missing or not inside its folder."""
    name = file_name or DEFAULT_FILE
    if name in {".", ".."} or not _PLAIN.fullmatch(name):
        raise ModelError(
            f"default_model_filename is '{name[:80]}'; it takes the name of a file in the version's folder"
        )
    path = folder / str(version) / name
    if path.is_dir():
        path = path / name
    if not path.is_file():
        raise ModelError(f"there is no file '{name}' in version {version}")
    return path


def fingerprint(folder: Path, version: int) -> Fingerprint:
    """Changes whenever a file of the version or the configuration does."""
    paths = [Path(where, name) for where, _, names in os.walk(folder / str(version)) for name in names]
    return tuple(
        stamp for path in [*sorted(paths), folder / CONFIG_FILE] if (stamp := _stamp(path, folder)) is not None
    )


def _stamp(path: Path, folder: Path) -> tuple[str, int, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (str(path.relative_to(folder)), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """One model as it lies on disk."""

    name: str
    folder: Path
    stamps: dict[int, Fingerprint]


def look(repository: Path) -> dict[str, ModelFiles]:
    """The whole repository as it is now."""
    return {name: look_inside(folder) for name, folder in model_folders(repository).items()}


def look_at(repository: Path, name: str) -> ModelFiles | None:
    """One model as it is now; None when it is not there."""
    if name.startswith(".") or not _PLAIN.fullmatch(name):
        return None
    folder = repository / name
    return look_inside(folder) if _is_model(folder) else None


def look_inside(folder: Path) -> ModelFiles:
    """The versions in a model's folder."""
    return ModelFiles(folder.name, folder, {version: fingerprint(folder, version) for version in versions(folder)})
