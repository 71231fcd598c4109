"""Write `inference.binpb` and `inference.pyi` from the .proto files: `python protos/generate.py [--check]`.

With --check nothing is written; the exit code is 1 when what is committed differs from what would be written.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
SOURCES = ["model_config.proto", "open_inference.proto"]
STUB_TAIL = """
class Method(NamedTuple):
    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool

SERVICE: str
DESCRIPTOR_SET: Path
POOL: DescriptorPool
METHODS: dict[str, Method]
"""


def compile_to(folder: Path) -> None:
    arguments = [
        "protoc",
        f"-I{HERE}",
        "--include_imports",
        f"--descriptor_set_out={folder / 'inference.binpb'}",
    ]
    if protoc.main([*arguments, f"--pyi_out={folder}", *SOURCES]) != 0:
        sys.exit("protoc refused the .proto files")
    (folder / "inference.pyi").write_text(stub(folder))


def stub(folder: Path) -> str:
    """One stub out of protoc's two: both files' messages live in one module here."""
    imports: set[str] = {
        "from pathlib import Path",
        "from typing import Any, NamedTuple",
        "from google.protobuf.descriptor_pool import DescriptorPool",
    }
    bodies: list[str] = []
    for name in ("model_config_pb2.pyi", "open_inference_pb2.pyi"):
        text = (folder / name).read_text()
        lines = text.splitlines()
        imports.update(line for line in lines if re.match(r"(from|import) ", line) and "model_config_pb2" not in line)
        body = [line for line in lines if not re.match(r"(from|import) |DESCRIPTOR:", line)]
        text = "\n".join(body).replace("_model_config_pb2.", "")
        bodies.append(text.replace("**kwargs)", "**kwargs: Any)"))  # a field called `global` is no parameter's name
    head = "# Written by protos/generate.py.\n" + "\n".join(sorted(imports)) + "\n"
    return re.sub(r"\n{3,}", "\n\n", head + "\n" + "\n".join(bodies) + STUB_TAIL)


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_to(folder)
        made = {file: (folder / file).read_bytes() for file in ("inference.binpb", "inference.pyi")}
    if "--check" in sys.argv:
        stale = [file for file, content in made.items() if (HERE / file).read_bytes() != content]
        if stale:
            print(f"protos/{', protos/'.join(stale)}: not what the .proto files say; run `make proto`", file=sys.stderr)
        return 1 if stale else 0
    for file, content in made.items():
        (HERE / file).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
