"""One copy of a file for all workers."""

from __future__ import annotations

import mmap
import os
import time

import pytest

from crossover.model_server.shared_files import SharedCopies


@pytest.fixture
def source(tmp_path):
    made = tmp_path / "weights.bin"
    made.write_bytes(b"first")
    hours_ago = time.time() - 3600
    os.utime(made, (hours_ago, hours_ago))
    return made


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "shared"
    made.mkdir()
    return made


def copies(folder) -> list:
    return list(folder.glob("data-*-*"))


def test_workers_have_one_copy(tmp_path, source, folder):
    """Two workers' copies are one file, which is not the source; nobody else's is."""
    targets = [tmp_path / name for name in ("one", "other", "alone")]
    for target, shared in zip(targets, (folder, folder, None), strict=True):
        SharedCopies(shared).copy(source, target)
        assert target.read_bytes() == b"first"
    assert targets[0].samefile(targets[1])
    assert not targets[0].samefile(source)
    assert targets[2].stat().st_nlink == 1


def test_a_file_that_changed_is_copied_anew(tmp_path, source, folder):
    """Who loads it then gets what it is now; who has the old one keeps that, and the folder has one copy."""
    SharedCopies(folder).copy(source, tmp_path / "before")
    source.write_bytes(b"other")
    minutes_ago = time.time() - 60
    os.utime(source, (minutes_ago, minutes_ago))
    SharedCopies(folder).copy(source, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == b"first"
    assert (tmp_path / "after").read_bytes() == b"other"
    assert len(copies(folder)) == 1


def test_a_file_that_was_just_written_is_not_shared(tmp_path, source, folder):
    """Its next change might show in no time of it."""
    source.write_bytes(b"other")
    SharedCopies(folder).copy(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"other"
    assert copies(folder) == []


def test_a_copy_is_kept_while_it_is_mapped(tmp_path, source, folder):
    """What ONNX Runtime has read and closed is needed by nobody; what it maps is there for the next worker."""
    shared, target = SharedCopies(folder), tmp_path / "copy"
    shared.copy(source, target)
    with target.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        shared.opened(target)
        assert len(copies(folder)) == 1
    shared.opened(target)
    assert copies(folder) == []
