import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_plans import built, key_of

from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.engines.cache.timing_caches import TimingCaches
from enginecrate.errors import CacheFull, CacheUnusable, PlanInvalid
from enginecrate.files.eviction import Pin, evict, size_of
from enginecrate.values import Digest

SIZE = 10_000


def plan(number: int, store: PlanStore) -> Plan:
    """The plan of this number, of a little more than `SIZE` bytes with its sidecar."""
    made = built(bytes([number]) * SIZE)
    return store.put(key_of(made), made)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_there(found: Plan) -> bool:
    return found.path.exists()


def test_the_least_recently_used_plan_goes(tmp_path: Path):
    store = PlanStore(tmp_path, max_bytes=4 * SIZE)
    first, second, third = (plan(number, store) for number in (1, 2, 3))
    assert store.get(first.path.parent.name) == first  # a use
    fourth = plan(4, store)
    assert [is_there(one) for one in (first, second, third, fourth)] == [True, False, True, True]
    assert names(tmp_path / "plans") == sorted(
        one.path.parent.name for one in (first, third, fourth)
    )


def test_without_a_limit_everything_stays(tmp_path: Path):
    store = PlanStore(tmp_path)
    plans = [plan(number, store) for number in range(20)]
    assert all(is_there(one) for one in plans)


def test_all_caches_share_the_limit(tmp_path: Path):
    graph = tmp_path / "graphs" / "some"
    graph.mkdir(parents=True)
    (graph / "graph.onnx").write_bytes(bytes(3 * SIZE))
    timing = TimingCaches(tmp_path)
    timing.put("tensorrt", "11.4", "sm86", bytes(SIZE))
    os.utime(graph, ns=(1, 1))
    store = PlanStore(tmp_path, max_bytes=3 * SIZE)
    plan(1, store)
    assert not graph.exists()
    assert timing.get("tensorrt", "11.4", "sm86") == bytes(SIZE)


def test_what_was_just_stored_stays_and_what_can_never_fit_is_refused(tmp_path: Path):
    store = PlanStore(tmp_path, max_bytes=SIZE + 2)  # room for the plan, not for its sidecar
    first, second = plan(1, store), plan(2, store)
    assert [is_there(first), is_there(second)] == [False, True]
    large = built(bytes(SIZE + 3))
    with pytest.raises(CacheFull, match=r"10,003 bytes.*may have 10,002.*cache_max_bytes"):
        store.put(key_of(large), large)
    assert is_there(second)


def test_what_is_pinned_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    store = PlanStore(tmp_path, max_bytes=2 * SIZE)
    first = plan(1, store)
    with store.pin(first), caplog.at_level(logging.WARNING):
        second = plan(2, store)
        assert is_there(first)
        assert "more than cache_max_bytes allows (20000): the rest is in use" in caplog.text
    third = plan(3, store)
    assert [is_there(one) for one in (first, second, third)] == [False, False, True]


PIN = """
import sys
from pathlib import Path
from enginecrate.files.eviction import Pin
pin = Pin(Path(sys.argv[1]))
print("pinned", flush=True)
sys.stdin.read()
"""


def test_what_another_process_has_pinned_stays_until_it_dies(tmp_path: Path):
    store = PlanStore(tmp_path)
    first = plan(1, store)
    folders = [tmp_path / "plans"]
    with subprocess.Popen(
        [sys.executable, "-c", PIN, str(first.path.parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"pinned\n"
        assert evict(folders, 1) == ()
        other.kill()
    assert evict(folders, 1) == (first.path.parent,)


def test_many_may_pin_one_plan(tmp_path: Path):
    store = PlanStore(tmp_path)
    first = plan(1, store)
    one, other = store.pin(first), store.pin(first)
    one.close()
    one.close()
    assert evict([tmp_path / "plans"], 1) == ()
    other.close()
    assert evict([tmp_path / "plans"], 1) == (first.path.parent,)


def test_what_is_gone_cannot_be_pinned(tmp_path: Path):
    store = PlanStore(tmp_path)
    first = plan(1, store)
    evict([tmp_path / "plans"], 1)
    with pytest.raises(PlanInvalid, match=r"is gone .*build it again"):
        store.pin(first)


def test_damaged_plans_go_first_and_only_a_few_are_kept(tmp_path: Path):
    store = PlanStore(tmp_path)
    plans = [plan(number, store) for number in range(5)]
    for one in plans:
        one.path.write_bytes(bytes(SIZE + 1))
        assert store.get(one.path.parent.name) is None
    left = {f"{one.path.parent.name}.corrupt" for one in plans[2:]}
    assert set(names(tmp_path / "plans")) == left
    sound = plan(9, store)
    os.utime(sound.path.parent, ns=(1, 1))
    evict([tmp_path / "plans"], 2 * SIZE)
    assert names(tmp_path / "plans") == [sound.path.parent.name]


def test_eviction_leaves_hidden_files_and_links_alone(tmp_path: Path):
    folder = tmp_path / "plans"
    folder.mkdir()
    (folder / ".key.lock").write_bytes(bytes(100))
    (folder / "link").symlink_to(tmp_path)
    (folder / "file").write_bytes(bytes(100))
    assert evict([folder, tmp_path / "missing"], 50) == (folder / "file",)
    assert names(folder) == [".key.lock", "link"]
    assert evict([tmp_path / "missing"], 50) == ()


def test_sizes(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(bytes(7))
    (tmp_path / "a" / "b" / "y").write_bytes(bytes(5))
    assert size_of(tmp_path / "a") == 12
    assert size_of(tmp_path / "a" / "x") == 7
    assert size_of(tmp_path / "none") == 0


def test_a_plan_may_have_more_files(tmp_path: Path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"w" * 100)
    digest = str(Digest.of_file(weights))
    made = replace(built(files={"plan.onnx.data": digest}), files={"plan.onnx.data": weights})
    store = PlanStore(tmp_path / "cache")
    stored = store.put(key_of(made), made)
    beside = stored.path.with_name("plan.onnx.data")
    assert beside.read_bytes() == b"w" * 100
    assert weights.exists()
    assert store.get(key_of(made)) == stored
    beside.write_bytes(b"v" * 100)
    assert store.get(key_of(made)) is None


@pytest.mark.parametrize(
    ("name", "listed", "message"),
    [
        ("w", {}, r"comes with the files \['w'\], and its sidecar lists \[\]"),
        ("w", {"w": str(Digest.of(b"other"))}, "has other bytes than the plan's sidecar says of w"),
        ("../w", {"../w": str(Digest.of(b""))}, "is not a plain name"),
    ],
)
def test_files_that_do_not_fit_the_sidecar(tmp_path: Path, name: str, listed: dict, message: str):
    source = tmp_path / "source"
    source.write_bytes(b"w")
    made = replace(built(files=listed), files={name: source})
    with pytest.raises(PlanInvalid, match=message):
        PlanStore(tmp_path / "cache").put(key_of(made), made)
    assert names(tmp_path / "cache" / "plans") == []


def test_timing_caches(tmp_path: Path):
    caches = TimingCaches(tmp_path)
    assert caches.get("tensorrt", "11.4.0", "sm86") == b""
    caches.put("tensorrt", "11.4.0", "sm86", b"")
    assert list(tmp_path.iterdir()) == []
    caches.put("tensorrt", "11.4.0", "sm86", b"one")
    caches.put("tensorrt", "11.4.0", "sm86", b"two")
    caches.put("tensorrt", "11.4.0", "NVIDIA A10/x", b"three")
    assert caches.get("tensorrt", "11.4.0", "sm86") == b"two"
    assert names(tmp_path / "timing") == [
        "tensorrt-11.4.0-NVIDIA_A10_x.cache",
        "tensorrt-11.4.0-sm86.cache",
    ]
    (tmp_path / "timing").chmod(0o770)
    with pytest.raises(CacheUnusable, match="other users may write"):
        caches.get("tensorrt", "11.4.0", "sm86")


def test_a_pin_of_a_link_is_refused(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"[Ll]oop|[Tt]oo many"):
        Pin(tmp_path / "link")
