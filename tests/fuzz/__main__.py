"""`make fuzz`: look for inputs for which a parser does not do what it promises.

    make fuzz                              every target for ten seconds, the native readers under sanitizers, every wire
    make fuzz ARGS='http1-head query'      these targets
    make fuzz ARGS='--inputs 50000'        so many inputs for each
    make fuzz ARGS=--coverage              which lines of the parsers are reached; exit 1 below 95 %
    make fuzz ARGS=--seeded                ten defects put in by hand, each of which must be found

A finding is kept in runs/fuzz/TARGET/; put it into tests/fuzz/corpus/TARGET/ with the fix, and it is run for ever.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz import engine, lines, native, seeded, wires
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

KEPT = Path("runs/fuzz")
_SECONDS = 10.0
_SEEDED_INPUTS = 30_000
_COVERED_INPUTS = 6_000
_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    names = options.targets or list(TARGETS)
    if options.seeded:
        return 0 if seeded.search(options.inputs or _SEEDED_INPUTS, options.targets) else 1
    if options.coverage:
        return _coverage([TARGETS[name] for name in names], options.inputs or _COVERED_INPUTS, options.seed)
    good = _fuzz([TARGETS[name] for name in names], options)
    if not options.targets:
        good = native.main(options.seconds or _SECONDS) and good
        good = wires.main(options.seconds or _SECONDS, options.seed) and good
    return 0 if good else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    description, _, examples = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...", description=description, epilog=examples,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--inputs", type=int, help="inputs for each target, instead of a time")
    parser.add_argument("--seconds", type=float, help=f"seconds for each target ({_SECONDS:g})")
    parser.add_argument("--seed", type=int, default=0, help="of the generators (0)")
    parser.add_argument("--engine", choices=("auto", "atheris", "mutation"), default="auto")
    parser.add_argument("--coverage", action="store_true", help="line coverage of the parsers")
    parser.add_argument("--seeded", action="store_true", help="put defects into a copy of the checkout, and find them")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.targets if name not in TARGETS]:
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    return options


def _fuzz(targets: list[Target], options: argparse.Namespace) -> bool:
    guided = importlib.util.find_spec("atheris") is not None and options.engine != "mutation"
    if options.engine != "mutation" and not guided:
        print("atheris is not installed (requirements/fuzz.txt): inputs are mutated without looking at coverage")
        if options.engine == "atheris":
            return False
    inputs = options.inputs or sys.maxsize
    seconds = options.seconds or (math.inf if options.inputs else _SECONDS)
    total, good = 0, True
    for target in targets:
        count, finding = (_guided if guided else _mutated)(target, inputs, seconds, options.seed)
        total += count
        good = good and finding is None
        print(f"  {target.name:20} {count:9,} inputs  {finding or 'no finding'}", flush=True)
    print(f"{total:,} inputs")
    return good


def _mutated(target: Target, inputs: int, seconds: float, seed: int) -> tuple[int, str | None]:
    count = engine.Count()
    finding = engine.run(target, inputs, seconds, seed, count)
    if finding is None:
        return count.inputs, None
    told = "".join(traceback.format_exception(finding.error, limit=-3)).rstrip()
    return count.inputs, f"FINDING {finding.keep(KEPT)}\n{told}"


def _guided(target: Target, inputs: int, seconds: float, seed: int) -> tuple[int, str | None]:
    """atheris in a process of its own, from our corpus and tokens; what it learns is kept in runs/fuzz/corpus."""
    learnt, artifacts = KEPT / "corpus" / target.name, KEPT / target.name
    for folder in (learnt, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.corpus()):
        (learnt / f"seed-{number:03}").write_bytes(data)
    limits = [f"-runs={inputs}"] if inputs != sys.maxsize else []
    limits += [f"-max_total_time={math.ceil(seconds)}"] if seconds != math.inf else []
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.writelines(_word(token) for token in target.tokens)
        words.flush()
        command = [
            sys.executable, "-m", "tests.fuzz.guided", target.name, str(learnt), *limits, f"-seed={seed + 1}", "-max_len=4096",
            "-timeout=60", "-rss_limit_mb=4096", f"-artifact_prefix={artifacts}/", *([f"-dict={words.name}"] if target.tokens else []),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    counted = _DONE.search(done.stderr)
    if done.returncode == 0 and counted:
        return int(counted[1]), None
    last = re.findall(r"^#(\d+)", done.stderr, re.MULTILINE)
    told = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
    return int(last[-1]) if last else 0, f"FINDING in {artifacts}\n{told}"


def _word(token: bytes) -> str:
    """A token as libFuzzer's dictionaries have it."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n'


def _coverage(targets: list[Target], inputs: int, seed: int) -> int:
    counted = lines.Lines({part for target in targets for part in target.modules})
    for target in targets:
        with counted.counted():
            finding = engine.run(target, inputs, math.inf, seed, engine.Count(), scaled_each=0)
            for unit in target.units:
                target.run(unit(lines.LARGE))
        if finding is not None:
            print(f"FINDING {finding.keep(KEPT)}: {finding.error}")
            return 1
    missed = counted.missed()
    for name, share in counted.shares().items():
        print(f"  {share:6.1%} {name.removeprefix('crossover.'):40} {_ranges(missed[name])}")
    print(f"{counted.share:.1%} of the lines of the parsers are reached; {lines.LEAST:.0%} are wanted")
    return 0 if counted.share >= lines.LEAST else 1


def _ranges(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (" ..." if len(numbers) > 12 else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
