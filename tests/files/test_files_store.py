"""The folder store: whole entries, damaged ones aside, the least recently used go first."""

import os
import threading
from pathlib import Path

import pytest

from enginecrate.errors import CacheUnusable, PlanInvalid
from enginecrate.files.eviction import evict
from enginecrate.files.store import FolderStore

KEY = "0" * 64


def read(folder: Path) -> bytes:
    data = (folder / "data").read_bytes()
    if data == b"damaged":
        raise PlanInvalid("its bytes are others")
    return data


def writes(data: bytes):
    return lambda folder: (folder / "data").write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore[bytes]:
    return FolderStore(tmp_path / "things", "thing", read)


def test_the_first_of_two_writers_wins(store: FolderStore[bytes]):
    assert store.get(KEY) is None
    assert store.put(KEY, writes(b"first"), 5) is None
    assert store.put(KEY, writes(b"second"), 6) == b"first"
    assert store.get(KEY) == b"first"


def test_a_damaged_entry_is_set_aside_and_written_again(
    store: FolderStore[bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    store.put(KEY, writes(b"damaged"), 7)
    assert store.put(KEY, writes(b"sound"), 5) is None
    assert store.get(KEY) == b"sound"
    assert sorted(path.name for path in (tmp_path / "things").iterdir()) == [KEY, f"{KEY}.corrupt"]
    assert "the cached thing" in caplog.text
    assert "its bytes are others" in caplog.text


def test_a_use_counts(store: FolderStore[bytes], tmp_path: Path):
    for number in range(3):
        store.put(f"{number}", writes(bytes(10)), 10)
        os.utime(tmp_path / "things" / f"{number}", (number, number))
    store.get("0")
    assert evict([tmp_path / "things"], 20) == (tmp_path / "things" / "1",)


def test_a_writer_that_fails_leaves_nothing(store: FolderStore[bytes], tmp_path: Path):
    def fails(folder: Path) -> None:
        (folder / "data").write_bytes(b"half")
        raise OSError(5, "Input/output error")

    with pytest.raises(CacheUnusable, match=r"cannot write the thing to .*Input/output error"):
        store.put(KEY, fails, 4)
    assert list((tmp_path / "things").iterdir()) == []


def test_one_makes_an_entry_and_the_other_is_told_that_it_waits(store: FolderStore[bytes]):
    waiting, order = threading.Event(), []

    def second() -> None:
        with store.making(KEY, waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.making(KEY, lambda: order.append("the first waits")):
        thread.start()
        assert waiting.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
