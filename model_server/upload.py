"""Models that come with a load call (OIP repository extension): `config` (JSON) and `file:<version>/<name>` (bytes).

Beside the versions lie what the configuration names: labels (`file:<name>`) and values of warm-ups (`file:warmup/<name>`).
"""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from crossover.model_server import config as configuration
from crossover.model_server.model_error import ModelError
from crossover.protocol.messages import ParameterValue
from crossover.protocol.names import is_clean
from crossover.protos import inference as pb

_FILE = re.compile(r"file:((?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}/){0,2}[A-Za-z0-9_][A-Za-z0-9._-]{0,127})")
_OF_VERSION = re.compile(r"[1-9][0-9]{0,17}/.+")
_MODEL_NAME = re.compile(r"[^./\\\0][^/\\\0]{0,254}")


@dataclass(frozen=True, slots=True)
class Given:
    """What a load call brings."""

    config: pb.ModelConfig
    files: dict[str, bytes]
    """By path in the model's folder; empty when the repository's own files are meant."""
    ignored: list[str]
    """What the configuration asks for and does not get, a phrase each."""


def read(name: str, parameters: Mapping[str, ParameterValue | bytes]) -> Given:
    """The call's parameters; ModelError says which one is wrong."""
    if not _MODEL_NAME.fullmatch(name) or not is_clean(name) or len(name.encode("utf-8", "replace")) > 255:
        raise ModelError("a model's name is a folder's name")
    for key in parameters:
        if key != "config" and not key.startswith("file:"):
            raise ModelError(f"load takes the parameters 'config' and 'file:<version>/<name>', not '{key[:60]}'")
    text = parameters.get("config")
    if not isinstance(text, str):
        raise ModelError(
            "the parameter 'config' (a model configuration as JSON text) must be given, with or without files"
        )
    files = {_path(key): _content(key, value) for key, value in parameters.items() if key != "config"}
    _check_paths(files)
    config, ignored = configuration.from_json(text, name)
    return Given(config, files, ignored)


@contextmanager
def written(name: str, files: Mapping[str, bytes]) -> Iterator[Path | None]:
    """A folder of the model's name with the files in it, until they are loaded; None when there are none."""
    if not files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="crossover-upload-") as root:
        for file_name, content in files.items():
            path = Path(root, name, file_name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(root, name)


def _path(key: str) -> str:
    match = _FILE.fullmatch(key)
    if match is None:
        raise ModelError(
            f"'{key[:80]}' does not name a file of a model; it takes 'file:<version>/<name>', 'file:warmup/<name>' or 'file:<name>'"
        )
    return match[1]


def _check_paths(files: Collection[str]) -> None:
    if files and not any(_OF_VERSION.fullmatch(path) for path in files):
        raise ModelError("no file of a version came along; one is 'file:<version>/<name>'")
    for path in files:
        folder = next((str(around) for around in PurePath(path).parents if str(around) in files), None)
        if folder is not None:
            raise ModelError(f"'file:{folder[:80]}' is a file, and 'file:{path[:80]}' would lie in it")


def _content(key: str, value: ParameterValue | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ModelError(f"the content of '{key[:80]}' is not bytes or base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ModelError(f"the content of '{key[:80]}' is not base64") from None
