"""What is generated and committed is what the .proto files say."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import sys

import pytest

from crossover.protos import inference as pb

GENERATED = ("inference.binpb", "inference.pyi")


@pytest.fixture
def copied(root, tmp_path):
    """The generator with its sources in a folder that a test may change."""
    folder = tmp_path / "protos"
    shutil.copytree(root / "protos", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def generate(folder, *arguments):
    return subprocess.run(
        [sys.executable, folder / "generate.py", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_committed_files_are_current(copied):
    """The check passes on what is committed."""
    done = generate(copied, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_contract_is_noticed(copied):
    """A field that is added without `make proto` fails the check by name, and `make proto` mends it."""
    source = copied / "open_inference.proto"
    source.write_text(re.sub(r"(bool live = 1;)", r"\1 bool well = 2;", source.read_text()))
    done = generate(copied, "--check")
    assert done.returncode == 1
    assert all(f"protos/{name}" in done.stderr for name in GENERATED)
    assert "make proto" in done.stderr
    assert generate(copied).returncode == 0
    assert generate(copied, "--check").returncode == 0
    assert "well: bool" in (copied / "inference.pyi").read_text()


def test_the_stub_names_what_the_module_has(root):
    """Every class and value that type checkers are told of exists at run time."""
    tree = ast.parse((root / "protos" / "inference.pyi").read_text())
    told = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    told |= {ast.unparse(node.target) for node in tree.body if isinstance(node, ast.AnnAssign)} - enum_values()
    assert told - set(dir(pb)) == set()


def enum_values() -> set[str]:
    """protoc's stubs also name an enum's values beside it; ours are reached through the enum."""
    return set(pb.DataType.keys())


def test_every_declaration_is_explained(root):
    """Each message and each call of the contract has a comment."""
    for name in ("open_inference.proto", "model_config.proto"):
        lines = (root / "protos" / name).read_text().splitlines()
        bare = [
            line.strip()
            for before, line in itertools.pairwise(lines)
            if re.match(r"(message|service|enum|  rpc) ", line) and not before.strip().startswith("//")
        ]
        assert bare == [], name
