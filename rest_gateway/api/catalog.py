"""What the model repository says about models beyond OIP: the names of classes, and real samples.

`labels.txt` holds one class name a line; `samples.json` holds `{"samples": [{"inputs": [...], "label": ...}]}`.
Both are optional, and so is the repository: a gateway on another host than the models does without.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger("crossover.api")


@dataclass(slots=True)
class Catalog:
    """Labels and samples by model name, read again when their file changes."""

    repository: Path | None
    _read: dict[Path, tuple[int, Any]] = field(default_factory=dict)

    def labels(self, model: str) -> list[str]:
        """Class names by index; empty when there are none."""
        return self._content(model, "labels.txt", _lines) or []

    def samples(self, model: str) -> list[dict[str, Any]]:
        """Samples as `{"data": flat numbers, "label": ...}`; empty when there are none."""
        return self._content(model, "samples.json", _samples) or []

    def _content(self, model: str, file: str, parse: Any) -> Any:
        if self.repository is None or model == ".." or Path(model).name != model:
            return None
        path = self.repository / model / file
        try:
            changed = path.stat().st_mtime_ns
            cached = self._read.get(path)
            if cached is None or cached[0] != changed:
                cached = self._read[path] = (changed, parse(path.read_bytes()))
            return cached[1]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning(
                "the file %s of model '%s' cannot be used: %s", file, model, getattr(error, "strerror", None) or error
            )
            return None


def _lines(content: bytes) -> list[str]:
    return content.decode().split("\n")[:-1] if content.endswith(b"\n") else content.decode().split("\n")


def _samples(content: bytes) -> list[dict[str, Any]]:
    return [{"data": item["inputs"], "label": item["label"]} for item in orjson.loads(content)["samples"]]
