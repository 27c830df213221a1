"""Locks and temporary names: who holds what, and what is nobody's any more."""

import fcntl
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from enginecrate.files import locks
from enginecrate.files.atomic import abandoned, scratch_file, sweep, write_atomic
from enginecrate.files.locks import claim, file_lock, is_at


def test_what_is_held_cannot_be_claimed_but_shared(tmp_path: Path):
    path = tmp_path / "file"
    held = claim(path, create=True)
    assert held is not None
    assert claim(path) is None
    os.close(held)
    shared = [claim(path, shared=True) for _ in range(2)]
    assert None not in shared
    assert claim(path) is None
    for descriptor in shared:
        os.close(descriptor or -1)


def test_what_was_moved_away_meanwhile_cannot_be_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As by another process that finishes its file between our opening and our locking it."""
    path = tmp_path / ".file.partial"

    class Flock:
        LOCK_EX, LOCK_SH, LOCK_NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB

        @staticmethod
        def flock(descriptor: int, operation: int) -> None:
            path.rename(tmp_path / "file")
            fcntl.flock(descriptor, operation)

    monkeypatch.setattr(locks, "fcntl", Flock)
    assert claim(path, create=True) is None
    assert (tmp_path / "file").exists()


def test_a_link_cannot_be_claimed(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic"):
        claim(tmp_path / "link")


def test_only_names_of_the_writer_are_swept(tmp_path: Path):
    """An interrupted archive, which its next writer continues, is none of them."""
    names = [".app.tar.partial", ".app.partial", "app.0123.partial", ".app.0123.partial~"]
    for name in [*names, ".app.0123.partial", ".0123.partial"]:
        (tmp_path / name).touch()
    assert sweep(tmp_path, "app") == 1
    assert sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_living_writer_is_not_abandoned(tmp_path: Path):
    (tmp_path / ".fetch.0123.partial").mkdir()
    with scratch_file(tmp_path, "fetch"):
        assert list(abandoned(tmp_path, "fetch")) == [tmp_path / ".fetch.0123.partial"]


def test_the_longest_name_that_a_file_system_takes(tmp_path: Path):
    path = tmp_path / ("ä" * 127)
    write_atomic(path, b"x")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("keep", [True, False])
def test_a_lock_that_is_kept_stays_the_same_file(tmp_path: Path, keep: bool):
    """An earlier version that opened it before, and locks it later, is kept out, too."""
    path = tmp_path / "lock"
    with file_lock(path, keep=keep), path.open("rb") as earlier:
        assert is_at(path, earlier.fileno())
    with path.open("rb") if keep else nullcontext() as earlier, file_lock(path, keep=keep):
        assert earlier is None or is_at(path, earlier.fileno())
    assert path.exists() is keep
