"""The repository on disk: which models and versions there are, and what would tell that one has changed.

Layout (Triton's): `<name>/<version>/model.onnx`, with an optional `config.pbtxt` beside the versions. A version folder
is a number without leading zeros; other folders are ignored. `model.onnx` may be a folder that holds the file of that
name and its external data.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from model_server.config import CONFIG_FILE, DEFAULT_FILE
from model_server.onnx_session import ModelError

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Name, size, modification time in ns and inode of every file that belongs to a version."""


def model_folders(repository: Path) -> dict[str, Path]:
    """Every folder with a version in it, or with a config.pbtxt, by the model's name."""
    found: dict[str, Path] = {}
    for entry in sorted(os.scandir(repository), key=lambda entry: entry.name):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        folder = Path(entry.path)
        if (folder / CONFIG_FILE).exists() or versions(folder):
            found[entry.name] = folder
    return found


def versions(folder: Path) -> list[int]:
    """Version numbers in a model's folder, ascending."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0"))


def model_file(folder: Path, version: int, file_name: str) -> Path:
    """The ONNX file of a version; ModelError when it is missing or not inside its folder."""
    name = file_name or DEFAULT_FILE
    path = folder / str(version) / name
    if path.is_dir():
        path = path / name
    if not path.resolve().is_relative_to((folder / str(version)).resolve()):
        raise ModelError(f"the model file '{name}' points outside its version's folder")
    if not path.is_file():
        raise ModelError(f"there is no file '{name}' in version {version}")
    return path


def fingerprint(folder: Path, version: int) -> Fingerprint:
    """Changes whenever a file of the version or the configuration does; empty when the version is gone."""
    root = folder / str(version)
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return tuple(stamp for path in [*paths, folder / CONFIG_FILE] if (stamp := _stamp(path, folder)) is not None)


def _stamp(path: Path, folder: Path) -> tuple[str, int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (str(path.relative_to(folder)), status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Found:
    """One model as it lies on disk."""

    name: str
    folder: Path
    stamps: dict[int, Fingerprint]


def look(repository: Path) -> dict[str, Found]:
    """The whole repository as it is now."""
    return {
        name: Found(name, folder, {version: fingerprint(folder, version) for version in versions(folder)})
        for name, folder in model_folders(repository).items()
    }
