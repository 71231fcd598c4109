"""Which files belong to a model: ONNX Runtime's own rule, for every file that a model or its configuration can name.

A file lies inside the model's folder, or inside the folder of the file that the model file resolves to. So the Hugging Face
cache, where `model.onnx` and its data are links into one folder of blobs, loads; and no name leads to another file of the host.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from crossover.model_server.model_error import ModelError


def escapes(name: str) -> bool:
    """Whether the name itself leads out of a folder, or is no name of a file."""
    inside = PurePath(name)
    return "\0" in name or inside.is_absolute() or ".." in inside.parts


def is_own(path: Path, folder: Path, model_file: Path | None = None) -> bool:
    """Whether the file that `path` resolves to is one of the model's."""
    homes = [folder.resolve()]
    if model_file is not None:
        homes.append(model_file.resolve().parent)
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that no file can have
        return False
    return any(real.is_relative_to(home) for home in homes)


def read(path: Path, most: int, where: str) -> bytes:
    """The file's content; ModelError that begins with `where` when it is no file or has more than `most` bytes.

    Nothing is opened that is no regular file: a pipe would keep the loader waiting, a device has no end.
    """
    if not path.is_file():
        raise ModelError(f"{where} is not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ModelError(f"{where} has more than {most} bytes")
    return data
