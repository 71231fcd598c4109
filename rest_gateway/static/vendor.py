"""Fetch the vendored front-end libraries again: `python rest_gateway/static/vendor.py` (needs npm).

Each is one pinned npm package, checked against its digest, of which the named files are kept, with its licence, so
that pages work offline.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent / "vendor"
PACKAGES = {
    "swagger-ui": (
        "swagger-ui-dist@5.35.0",
        "U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==",
        ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"],
    ),
}
"""Folder: package, SHA-512 of its archive in base64, files that are kept."""


def fetch(name: str, package: str, digest: str, files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, package], check=True)
        packed = next(Path(folder).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() != digest:
            sys.exit(f"{package} is not the archive that was vendored before; look at it before changing its digest")
        with tarfile.open(packed) as archive:
            for file in files:
                content = archive.extractfile(f"package/{file}")
                assert content is not None
                target = VENDOR / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


if __name__ == "__main__":
    for name, (package, digest, files) in PACKAGES.items():
        fetch(name, package, digest, files)
