"""NVIDIA Triton (C++) with one model that gives its input back: python serve.py HTTP_PORT GRPC_PORT

Triton's server is that of the wheel nvidia-pytriton, with its Python backend. What runs in the model is alike for both
wires; what differs between them is Triton's own front ends.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = """
backend: "python"
max_batch_size: 0
input [{ name: "x" data_type: TYPE_FP32 dims: [-1, -1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [-1, -1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
MODEL = """
import sys
sys.path += {path!r}  # the backend's interpreter knows no environment
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [utils.InferenceResponse([utils.Tensor("y", array)]) for array in inputs]
"""


def main() -> None:
    http_port, grpc_port = sys.argv[1:]
    found = importlib.util.find_spec("pytriton")
    if found is None:
        sys.exit("Triton is missing: python3 -m venv .venv-triton && .venv-triton/bin/pip install nvidia-pytriton")
    triton = Path(found.origin).parent / "tritonserver"
    libraries = Path(found.origin).parents[1] / "nvidia_pytriton.libs"
    with tempfile.TemporaryDirectory(prefix="triton-") as folder:
        serve(triton, libraries, Path(folder), http_port, grpc_port)


def serve(triton: Path, libraries: Path, folder: Path, http_port: str, grpc_port: str) -> None:
    """Triton over the one model, whose files go to `folder`; returns when it has ended."""
    repository, backend = folder / "models", folder / "backends" / "python"
    (repository / "identity" / "1").mkdir(parents=True)
    (repository / "identity" / "config.pbtxt").write_text(CONFIG)
    (repository / "identity" / "1" / "model.py").write_text(MODEL.format(path=sys.path))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    backend.mkdir(parents=True)  # the backend looks for its stub, one for each version of Python, beside itself
    for file in [*(triton / "backends" / "python").iterdir(), stub]:
        (backend / file.name).symlink_to(file)
    command = [
        str(triton / "bin" / "tritonserver"), f"--model-repository={repository}", f"--backend-directory={backend.parent}",
        "--http-address=127.0.0.1", f"--http-port={http_port}", "--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}",
        "--allow-metrics=false", "--log-info=false", f"--backend-config=python,shm-region-prefix-name=pair{http_port}",
    ]  # fmt: skip
    paths = os.pathsep.join(map(str, filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH", "")])))
    service = subprocess.Popen(command, env={**os.environ, "LD_LIBRARY_PATH": paths})
    signal.signal(signal.SIGTERM, lambda *_: service.terminate())
    service.wait()


if __name__ == "__main__":
    main()
