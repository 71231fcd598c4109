"""Fetch the vendored front-end libraries again: `python rest_gateway/static/vendor.py` (needs npm).

Each is one pinned npm package of which the named files are kept, with its licence, so that pages work offline.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).resolve().parent / "vendor"
PACKAGES = {
    "swagger-ui": ("swagger-ui-dist@5.35.0", ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"]),
}


def fetch(name: str, package: str, files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, package], check=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            for file in files:
                content = archive.extractfile(f"package/{file}")
                assert content is not None
                target = VENDOR / name / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


if __name__ == "__main__":
    for name, (package, files) in PACKAGES.items():
        fetch(name, package, files)
