"""The native readers under AddressSanitizer and UndefinedBehaviorSanitizer: libFuzzer with clang, gcc and mutation without."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from tests.fuzz import codec_targets

HERE = Path(__file__).resolve().parent / "native_readers"
NATIVE = HERE.parents[2] / "protocol" / "native"
READERS = {"json_readers": "json-request", "json_checks": "json-request", "bytes_readers": "raw-bytes"}
_FLAGS = ["-O1", "-g", "-std=gnu11", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-w"]
_DONE = re.compile(r"^(?:stat::number_of_executed_units:\s*|Done )(\d+)", re.MULTILINE)


def compiler() -> tuple[list[str], str] | None:
    """A compiler's command for the readers, and what drives them; None where there is none that can."""
    if shutil.which("clang") and _links(
        ["clang", "-fsanitize=fuzzer,address,undefined"], "int LLVMFuzzerTestOneInput(void) { return 0; }"
    ):
        return ["clang", "-fsanitize=fuzzer,address,undefined"], "libFuzzer"
    if shutil.which("gcc") and _links(["gcc", "-fsanitize=address,undefined"], "int main(void) { return 0; }"):
        return ["gcc", "-fsanitize=address,undefined", "-DSTANDALONE"], "mutation, as clang is not here"
    return None


def _links(command: list[str], source: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        given = ["-x", "c", "-", "-o", f"{folder}/a"]
        return (
            subprocess.run([*command, *given], input=source, capture_output=True, text=True, check=False).returncode
            == 0
        )


def build(name: str, command: list[str], folder: Path) -> Path:
    """One of the programs; CalledProcessError with the compiler's words where it does not compile."""
    program, part, stubs = folder / name, folder / f"{name}.o", folder / f"{name}-stubs.c"
    includes = [f"-I{NATIVE}", f"-I{sysconfig.get_path('include')}"]
    _command([*command, *_FLAGS, *includes, "-c", str(HERE / f"{name}.c"), "-o", str(part)])
    missing = re.findall(r"U (_?Py\w+)", _command(["nm", "-u", str(part)]))
    stubs.write_text("#include <stdlib.h>\n" + "".join(f"void {one}(void) {{ abort(); }}\n" for one in missing))
    _command([*command, *_FLAGS, str(part), str(stubs), "-o", str(program)])
    return program


def _command(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run(name: str, seconds: float, folder: Path) -> tuple[int, str]:
    """Inputs that one reader was given, and what a sanitizer says of it; nothing where all is well."""
    found = compiler()
    assert found is not None
    program = build(name, found[0], folder)
    corpus = folder / f"{name}-corpus"
    corpus.mkdir()
    for number, data in enumerate(_seeds(name)):
        (corpus / f"{number:03}").write_bytes(data)
    files = sorted(map(str, corpus.iterdir()))
    whole = str(math.ceil(seconds))
    given = [whole, *files] if "-DSTANDALONE" in found[0] else [
        str(corpus), f"-max_total_time={whole}", "-max_len=4096", "-print_final_stats=1", f"-artifact_prefix={folder}/"]  # fmt: skip
    done = subprocess.run([str(program), *given], capture_output=True, text=True, errors="replace", check=False)
    count = _DONE.search(done.stdout + done.stderr)
    return int(count[1]) if count else 0, "" if done.returncode == 0 else (done.stdout + done.stderr)[-3000:]


def _seeds(name: str) -> list[bytes]:
    target = next(target for target in codec_targets.TARGETS if target.name == READERS[name])
    seeds = [bytes((number % 3, number % 7)) + data for number, data in enumerate(target.corpus())]
    return seeds if name != "bytes_readers" else [*seeds, b"\x42\x01a\x42\x00\x42\x03ccc", *target.corpus()]


def main(seconds: float) -> bool:
    """Run both; one line each, or one with the reason why not."""
    found = compiler()
    if found is None:
        print("  the native readers are not run under sanitizers: neither clang nor gcc with AddressSanitizer is here")
        return True
    good = True
    with tempfile.TemporaryDirectory(prefix="crossover-readers-") as folder:
        for name in READERS:
            count, told = run(name, seconds, Path(folder))
            good = good and not told
            print(
                f"  {name:20} {count:9,} inputs  {(told and f'FINDING {told}') or f'no finding ({found[1]})'}",
                flush=True,
            )
    return good
