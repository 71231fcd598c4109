"""Build the native parts beside their sources: `python protocol/native/build.py`.

Everything works without them, slower. Where there is no compiler or Python's headers are missing this says so in one
line and exits 0, so that `make run` goes on.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLAGS = ["-O3", "-std=c11", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror=implicit"]


def target(source: Path) -> Path:
    return source.with_name(f"_{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}")


def is_built(source: Path) -> bool:
    """Whether what was built is as new as the source and what it includes."""
    used = [source, *HERE.glob("*.h")]
    return target(source).exists() and target(source).stat().st_mtime >= max(file.stat().st_mtime for file in used)


def command(source: Path) -> list[str]:
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    return [compiler, *FLAGS, f"-I{sysconfig.get_path('include')}", str(source), "-o", str(target(source))]


def build(source: Path) -> str | None:
    """Compile one source; the reason when that failed."""
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python's headers are not installed (Debian: python3-dev)"
    try:
        result = subprocess.run(command(source), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no C compiler was found"
    return None if result.returncode == 0 else f"the compiler failed: {result.stderr.strip().splitlines()[-1:]}"


def main() -> int:
    for source in sorted(HERE.glob("*.c")):
        if is_built(source):
            continue
        reason = build(source)
        print(f"native {source.stem}: " + (f"not built, Python is used instead: {reason}" if reason else "built"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on where this ended")
