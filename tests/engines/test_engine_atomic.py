import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from enginecrate.files.atomic import scratch_folder, sweep, write_atomic


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path):
    path = tmp_path / "report.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_follows_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "f", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_readers_never_see_a_part(tmp_path: Path):
    path = tmp_path / "f"
    contents = [bytes([n]) * 200_000 for n in range(2)]
    write_atomic(path, contents[0])
    stop = threading.Event()

    def write() -> None:
        for turn in range(60):
            write_atomic(path, contents[turn % 2])
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not stop.is_set():
        seen.add(path.read_bytes())
    thread.join()
    assert seen <= set(contents)


def test_a_failure_leaves_the_old_file_and_no_partial(tmp_path: Path):
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "inside").touch()
    with pytest.raises(OSError, match="directory"):
        write_atomic(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_scratch_folder_vanishes_unless_it_is_renamed(tmp_path: Path):
    with scratch_folder(tmp_path, "key") as scratch:
        (scratch / "file").touch()
        assert scratch.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with scratch_folder(tmp_path, "key") as scratch:
        scratch.rename(tmp_path / "key")
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


KILLED = """
import sys
from pathlib import Path
from enginecrate.files.atomic import scratch_folder
with scratch_folder(Path(sys.argv[1]), "key") as scratch:
    (scratch / "half").write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_writer_leaves_is_swept_and_what_a_living_one_holds_is_not(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"writing\n"
        (partial,) = tmp_path.iterdir()
        assert sweep(tmp_path) == 0
        assert (partial / "half").exists()
        writer.kill()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_sweeping_knows_whose_partials_it_takes(tmp_path: Path):
    (tmp_path / ".report.json.0123.partial").touch()
    (tmp_path / ".golden.json.0123.partial").touch()
    (tmp_path / "notes.partial").touch()
    assert sweep(tmp_path, "report.json") == 1
    assert sweep(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.partial"]
    assert sweep(tmp_path / "missing") == 0


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "precious").mkdir()
    (tmp_path / ".key.0123.partial").symlink_to(tmp_path / "precious")
    assert sweep(tmp_path) == 0
    assert (tmp_path / "precious").is_dir()
