import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from tiny_plans import DATA, built, key_of

from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.errors import CacheUnusable, PlanInvalid
from enginecrate.values import Digest, Precision

KEY = key_of(built())


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path)


@pytest.fixture
def stored(store: PlanStore) -> Plan:
    return store.put(KEY, built())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_put_is_got(store: PlanStore, tmp_path: Path):
    assert store.get(KEY) is None
    assert names(tmp_path) == []
    put = store.put(KEY, built())
    assert put.path == tmp_path / "plans" / KEY / "plan.onnx"
    assert put.path.read_bytes() == DATA
    assert put.info == built().info
    assert store.get(KEY) == put
    assert store.get("0" * 64) is None


def test_the_sidecar_is_readable_json_without_times(stored: Plan):
    content = json.loads(stored.path.with_name("plan.json").read_text())
    assert content["format"] == 2
    assert content["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert not [name for name in content if "time" in name or "date" in name]


def test_the_key_does_not_depend_on_the_order_of_options():
    options = {"simplifier": "enginecrate passes 1", "graph_optimization": "all"}
    assert key_of(built(options=options)) == KEY


@pytest.mark.parametrize(
    "change",
    [
        {"backend": "tensorrt"},
        {"backend_version": "1.33.0"},
        {"tool_version": "0.2.0"},
        {"stack": "ort-cuda130"},
        {"platform": "linux/arm64"},
        {"device": "sm86"},
        {"model_digest": str(Digest.of(b"other weights"))},
        {"precision": Precision.FP16},
        {"profiles": [{"x": ((1, 3), (4, 3), (9, 3))}]},
        {"profiles": []},
        {"options": {"graph_optimization": "basic", "simplifier": "enginecrate passes 1"}},
    ],
)
def test_everything_that_shapes_a_plan_is_in_its_key(change: dict):
    assert key_of(built(**change)) != KEY


def test_the_folder_is_ours_alone(stored: Plan, tmp_path: Path):
    assert (tmp_path / "plans").stat().st_mode & 0o777 == 0o700


def test_a_readable_folder_is_closed(store: PlanStore, tmp_path: Path):
    (tmp_path / "plans").mkdir(mode=0o755)
    store.put(KEY, built())
    assert (tmp_path / "plans").stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_user_is_refused(
    store: PlanStore, stored: Plan, monkeypatch: pytest.MonkeyPatch
):
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    for use in (lambda: store.get(KEY), lambda: store.put(KEY, built())):
        with pytest.raises(CacheUnusable, match=f"user {other}.*cache_dir"):
            use()


def test_a_folder_that_others_may_write_to_is_refused(
    store: PlanStore, stored: Plan, tmp_path: Path
):
    (tmp_path / "plans").chmod(0o770)
    for use in (lambda: store.get(KEY), lambda: store.put(KEY, built())):
        with pytest.raises(CacheUnusable, match="other users may write"):
            use()


def test_a_link_in_place_of_the_folder_is_refused(store: PlanStore, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "plans").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheUnusable, match="is not a folder"):
        store.put(KEY, built())


def test_a_cache_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").touch()
    store = PlanStore(tmp_path / "file")
    assert store.get(KEY) is None
    with pytest.raises(CacheUnusable, match=r"cannot write the plan.*cache_dir"):
        store.put(KEY, built())


def test_a_plan_of_another_key_is_not_stored(store: PlanStore):
    with pytest.raises(PlanInvalid, match="belongs to another plan"):
        store.put("0" * 64, built())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap_sidecar(folder: Path) -> None:
    other = msgspec.json.encode(built(stack="another").info)
    (folder / "plan.json").write_bytes(other)


def newer_format(folder: Path) -> None:
    sidecar = folder / "plan.json"
    sidecar.write_text(sidecar.read_text().replace('"format": 2', '"format": 3'))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: flip(folder / "plan.onnx"), "other bytes than plan.json promises"),
        (lambda folder: os.truncate(folder / "plan.onnx", 10), "other bytes"),
        (lambda folder: (folder / "plan.onnx").unlink(), "plan.onnx is missing"),
        (lambda folder: (folder / "plan.json").unlink(), "plan.json is missing"),
        (lambda folder: (folder / "plan.json").write_bytes(b""), "is not a sidecar"),
        (lambda folder: (folder / "plan.json").write_bytes(b"\xff{"), "is not a sidecar"),
        (lambda folder: (folder / "plan.json").write_text('{"format": 2}'), "is not a sidecar"),
        (newer_format, "has format 3"),
        (swap_sidecar, "belongs to another plan"),
    ],
)
def test_a_damaged_plan_is_set_aside_and_said(
    store: PlanStore,
    stored: Plan,
    damage: object,
    reason: str,
    caplog: pytest.LogCaptureFixture,
):
    folder = stored.path.parent
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None
    assert "was set aside" in caplog.text
    assert reason in caplog.text
    assert names(folder.parent) == [f"{KEY}.corrupt"]
    assert store.put(KEY, built()).path.read_bytes() == DATA
    assert names(folder.parent) == [KEY, f"{KEY}.corrupt"]


def test_only_the_last_damaged_plan_is_kept(store: PlanStore, stored: Plan):
    for _ in range(2):
        flip(stored.path)
        assert store.get(KEY) is None
        store.put(KEY, built())
    assert names(stored.path.parents[1]) == [KEY, f"{KEY}.corrupt"]


def test_a_damaged_plan_does_not_stop_the_next_put(store: PlanStore, stored: Plan):
    flip(stored.path)
    assert store.put(KEY, built()).path.read_bytes() == DATA


def test_many_writers_of_one_plan(tmp_path: Path):
    count = 8
    ready = threading.Barrier(count)

    def write(_: int) -> Plan:
        store = PlanStore(tmp_path)
        ready.wait()
        return store.put(KEY, built())

    with ThreadPoolExecutor(count) as pool:
        plans = list(pool.map(write, range(count)))
    assert {plan.path for plan in plans} == {tmp_path / "plans" / KEY / "plan.onnx"}
    assert names(tmp_path / "plans") == [KEY]
    assert plans[0].path.read_bytes() == DATA


def test_leftovers_of_killed_builds_are_swept(store: PlanStore, stored: Plan):
    leftover = stored.path.parents[1] / f".{KEY}.0123456789abcdef.partial"
    leftover.mkdir()
    (leftover / "plan.onnx").write_bytes(b"half")
    store.put(KEY, built())
    assert names(stored.path.parents[1]) == [KEY]
