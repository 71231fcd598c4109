"""Ten defects, put into a copy of the checkout one at a time: the fuzzers must find each.

Most of them are faults that fuzzing found here, put back. A fuzzer that finds none of them would find nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = (".git", ".venv*", "__pycache__", "runs", "data", ".*_cache", ".hypothesis", "docs")
_SECONDS = 300


@dataclass(frozen=True)
class Defect:
    """A change of one place, and the target that has to notice."""

    name: str
    file: str
    right: str
    wrong: str
    target: str


DEFECTS = (
    Defect("a head that ends in LF alone loses its last field", "transport/http1/head.py",
           'if not raw.endswith(b"\\r\\n\\r\\n") or ((cut := _END.search(raw)) is not None and cut.end() < len(raw)):',
           "if (cut := _END.search(raw)) is not None and cut.end() < len(raw):", "http1-head"),
    Defect("a chunk ends with its packet", "transport/http1/chunks.py", "self._left -= taken", "self._left = 0", "http1-chunks"),
    Defect("a fault is told again for each packet of its frame", "transport/http2/connection.py",
           "self._fail_stream(number, fault)\n                    self._drops = self._frames.within_data\n",
        "self._fail_stream(number, fault)\n", "http2-server"),
    Defect("a repeated field takes the place of the first", "transport/http2/header_blocks.py",
           'if name[:1] == b":" or name in _CHECKED or name in found:', 'if name[:1] == b":" or name in _CHECKED:', "header-block"),
    Defect("a compressed message that comes whole is not decompressed", "transport/grpc/messages.py",
           "if len(piece) < PREFIX_BYTES or piece[0]:", "if len(piece) < PREFIX_BYTES:", "grpc-message"),
    Defect("a field that is not known is read as a message", "protocol/codecs/protobuf/codec.py",
           "if field[0] not in _MESSAGE_TAGS or len(field) < 3:", "if field[0] & 7 != 2 or field[0] < 34 or len(field) < 3:",
           "protobuf-request"),
    Defect("a byte of BOOL that is neither 0 nor 1 stays", "protocol/tensors.py",
           "return octets != 0 if octets.size and octets.max() > 1 else octets.view(np.bool_)", "return octets.view(np.bool_)",
           "protobuf-response"),
    Defect("a list's limit is read in part", "rest_gateway/predictions/queries.py",
           "len(digits) > _LIMIT_DIGITS or int(digits) > MOST_LISTED", "int(digits[:3]) > MOST_LISTED", "query"),
    Defect("the native reader takes numbers that no float holds", "protocol/native/jsontensors.c",
           "if (isinf(value)) return 0;", "", "json-request"),
    Defect("a search for the end of an array begins anew", "protocol/native/jsontensors.c",
           "if (!close) return (Scan){NULL, limit};", "if (!close) return (Scan){NULL, first};", "json-request"),
)  # fmt: skip


def search(inputs: int, names: list[str]) -> bool:
    """Put each defect in and look for it; whether all were found. One line each."""
    found = 0
    wanted = [defect for defect in DEFECTS if not names or defect.target in names]
    with _copy() as copy:
        for defect in wanted:
            file = copy / defect.file
            right = file.read_text()
            if right.count(defect.right) != 1:
                print(f"  stale   {defect.name}: its place in {defect.file} is not there any more")
                continue
            file.write_text(right.replace(defect.right, defect.wrong))
            noticed = _run(copy, defect, inputs)
            file.write_text(right)
            found += noticed
            print(f"  {'found ' if noticed else 'MISSED'}  {defect.name} ({defect.target})", flush=True)
    print(f"{found} of {len(wanted)} seeded defects were found")
    return found == len(wanted)


class _copy:
    """A checkout of our own to break."""

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="crossover-seeded-")
        copy = Path(self._folder.name) / "checkout"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        return copy

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _run(copy: Path, defect: Defect, inputs: int) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    for part in copy.glob("protocol/native/*.so"):
        if defect.file.endswith(".c"):
            part.unlink()
    subprocess.run([sys.executable, "protocol/native/build.py"], cwd=copy, check=True, capture_output=True)
    command = [sys.executable, "-m", "tests.fuzz", defect.target, "--engine", "mutation", "--inputs", str(inputs)]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    if defect.file.endswith(".c"):
        for part in copy.glob("protocol/native/*.so"):
            part.unlink()
    return done.returncode == 1 and "FINDING" in done.stdout


def stale() -> Iterator[str]:
    """Defects whose place in the code is not there any more."""
    for defect in DEFECTS:
        if (ROOT / defect.file).read_text().count(defect.right) != 1:
            yield defect.name
