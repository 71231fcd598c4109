"""`crossover`: every command of its table is known by its own name, and Ctrl-C in one is a sentence."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from crossover import VERSION
from crossover.__main__ import COMMANDS, main
from crossover.service.interrupts import INTERRUPTED, interruptible


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"version"}))
def test_help_names_the_command_as_it_was_called(name, capsys):
    """`crossover NAME --help` begins with `usage: crossover NAME`, whatever module does it."""
    try:
        code = main([name, "--help"])
    except SystemExit as ended:
        code = ended.code
    assert code in {0, None}
    assert capsys.readouterr().out.startswith(f"usage: crossover {name} ")


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version_is_printed(word, capsys):
    """As a command and as an option."""
    assert main([word]) == 0
    assert capsys.readouterr().out == f"crossover {VERSION}\n"


@pytest.mark.parametrize(
    "module", ["clients", "stack", "model_server", "rest_gateway", "comparison", "crossover"]
)  # fmt: skip
def test_every_program_knows_its_version(module, root):
    """`python -m MODULE --version` prints it."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stdout.strip().endswith(VERSION)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(shell, capsys):
    """What is printed for a shell has each name."""
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["crossover", "in"], ["infer"]),
        (["crossover", "infer", "--s"], ["--sample", "--servername"]),
        (["crossover", "infer", "digits", "--wire", "grpc-l"], ["grpc-lean"]),
        (["crossover", "infer", "dig"], []),
    ],
)
def test_bash_completes_commands_flags_and_wires(words, offered, tmp_path, capsys):
    """A flag of the command's own --help, a wire after --wire; else the shell's file names."""
    assert main(["completion", "bash"]) == 0
    program = tmp_path / "crossover"
    program.write_text(
        "#!/bin/sh\n[ \"$*\" = 'infer --help' ] && echo '[--sample N] [--servername NAME] [--wire WIRE]'\n"
    )
    program.chmod(0o755)
    asked = f'COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _crossover; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", f"{capsys.readouterr().out}\n{asked}"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == offered, done.stderr


def test_ctrl_c_is_a_sentence(capsys):
    """130, as shells count SIGINT, and no traceback."""

    def work():
        signal.raise_signal(signal.SIGINT)
        return 0

    # A test before may have run a service in this process, which leaves its own handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert interruptible(lambda: work, "crossover compare") == INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.strip() == "crossover compare was interrupted"


def test_a_caller_keeps_its_own_handler():
    """Who calls a command from a program has its SIGINT handler back afterwards."""
    before = signal.getsignal(signal.SIGINT)
    assert interruptible(lambda: lambda: 0, "crossover compare") == 0
    assert signal.getsignal(signal.SIGINT) is before


INTERRUPTED_IMPORT = """
import os, runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if name == "crossover.service.settings" or package not in {*sys.stdlib_module_names, "crossover", "org", "sitecustomize", ROOM}:
            os.kill(os.getpid(), signal.SIGINT)

ROOM = sys.argv[1]
sys.argv[1:] = sys.argv[2:]
sys.meta_path.insert(0, Interrupting())
runpy.run_module(ROOM, run_name="__main__", alter_sys=True)
"""
"""Runs a room with Ctrl-C at the first import of a package that is not Python's own, or of the settings, which need none."""


@pytest.mark.parametrize(
    ("room", "arguments"),
    [("rest_gateway", []), ("model_server", []), ("clients", ["health"]), ("stack", []), ("comparison", ["run"]),
     *(("crossover", [name]) for name in ("run", "serve", "gateway", "health", "compare", "keys"))],
)  # fmt: skip
def test_ctrl_c_while_modules_are_imported_is_a_sentence(room, arguments, root):
    """Every command ends with 130 and its own name, however early Ctrl-C comes."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, room, *arguments],
        cwd=root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == INTERRUPTED
    assert done.stdout == ""
    assert done.stderr.strip().endswith(" was interrupted")
    assert done.stderr.strip().count("\n") == 0


def test_the_release_is_the_same_everywhere(root):
    """CITATION.cff and the changelog name the version that the program prints, with one date."""
    cited = (root / "CITATION.cff").read_text("utf-8")
    version = re.search(r"^version: (.+)$", cited, re.MULTILINE)
    date = re.search(r"^date-released: (.+)$", cited, re.MULTILINE)
    assert version
    assert date
    assert version[1] == VERSION
    assert f"## {VERSION} - {date[1]}\n" in (root / "CHANGELOG.md").read_text("utf-8")
