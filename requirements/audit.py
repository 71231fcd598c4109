"""Known vulnerabilities of what is served: `python requirements/audit.py`, as `make check` does.

pip-audit, in an environment of its own, asks a service about the pins of serve.txt. Where it cannot be installed or the
service cannot be reached this says so in one line and exits 0; a vulnerability that is found is exit code 1. Standard
library only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-audit"
PINS = "serve.txt"
_INSTALL_SECONDS, _SECONDS = 120, 20
_FOUND = "known vulnerabilit"


def main() -> int:
    python = ENVIRONMENT / "bin" / "python"
    try:
        if not (ENVIRONMENT / "bin" / "pip-audit").exists():
            _quietly([sys.executable, "-m", "venv", str(ENVIRONMENT)], _INSTALL_SECONDS)
            given = ["install", "--quiet", "--require-hashes", "-r", str(HERE / "audit.txt")]
            _quietly([str(python), "-m", "pip", *given], _INSTALL_SECONDS)
        command = [
            str(python),
            "-m",
            "pip_audit",
            "--disable-pip",
            "--require-hashes",
            "--progress-spinner=off",
            "--timeout=5",
        ]
        done = subprocess.run(
            [*command, "-r", str(HERE / PINS)], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"audit: left out, as pip-audit cannot be installed or does not answer ({type(error).__name__})")
        return 0
    said = (done.stdout + done.stderr).strip()
    if done.returncode == 0:
        print(f"audit: no known vulnerability in requirements/{PINS}")
        return 0
    if _FOUND in said.lower():
        print(said)
        return 1
    print("audit: left out, as the service that knows vulnerabilities cannot be reached")
    return 0


def _quietly(command: list[str], seconds: int) -> None:
    subprocess.run(command, capture_output=True, timeout=seconds, check=True)


if __name__ == "__main__":
    sys.exit(main())
