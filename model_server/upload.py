"""Models that come with a load call (OIP repository extension): `config` (JSON) and `file:<version>/<name>` (bytes)."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from model_server import config as configuration
from model_server.onnx_session import ModelError
from protocol.messages import ParameterValue
from protos import inference as pb

_FILE = re.compile(r"file:([1-9][0-9]{0,17})/([A-Za-z0-9_][A-Za-z0-9._-]{0,127})")
_MODEL_NAME = re.compile(r"[^/\\\0]{1,255}")


def unpack(
    name: str, repository: Path, parameters: Mapping[str, ParameterValue | bytes]
) -> tuple[pb.ModelConfig, Path]:
    """The configuration and the folder to load from: the repository's own, or a new one that holds the files."""
    if not _MODEL_NAME.fullmatch(name) or name in {".", ".."}:
        raise ModelError("a model's name is a folder's name")
    unknown = [key for key in parameters if key != "config" and not key.startswith("file:")]
    if unknown:
        raise ModelError(f"load takes the parameters 'config' and 'file:<version>/<name>', not '{unknown[0][:60]}'")
    text = parameters.get("config")
    if not isinstance(text, str):
        raise ModelError(
            "the parameter 'config' (a model configuration as JSON text) must be given, with or without files"
        )
    config = configuration.from_json(text, name)
    files = {key: value for key, value in parameters.items() if key.startswith("file:")}
    if not files:
        return config, repository / name
    folder = Path(tempfile.mkdtemp(prefix="crossover-model-"))
    for key, value in files.items():
        _write(folder, key, value)
    return config, folder


def _write(folder: Path, key: str, value: ParameterValue | bytes) -> None:
    match = _FILE.fullmatch(key)
    if match is None:
        raise ModelError(f"'{key[:80]}' does not name a file; it takes 'file:<version>/<name>'")
    path = folder / match[1] / match[2]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_content(key, value))


def _content(key: str, value: ParameterValue | bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(str(value), validate=True)
    except binascii.Error:
        raise ModelError(f"the content of '{key[:80]}' is not base64") from None
