"""How many front ends a server has on a machine."""

from pathlib import Path

import pytest

from enginecrate.errors import ServerProcessFailed, SettingInvalid
from enginecrate.server.memory.container import memory_limit
from enginecrate.server.processes.front_end_count import (
    FrontEndCount,
    MachineFacts,
    count_front_ends,
    machine_facts,
)
from enginecrate.server.processes.restarts import Restarts
from enginecrate.settings import load_settings

GIB = 1 << 30


def count(machine: MachineFacts, **flags) -> FrontEndCount:
    return count_front_ends(load_settings(environment={}, flags=flags), machine)


def machine(cores: int = 16, memory: int = 64 * GIB, *, gpu: bool = True) -> MachineFacts:
    return MachineFacts(cores, memory, gpu)


@pytest.mark.parametrize(
    ("facts", "flags", "expected", "reason"),
    [
        (machine(16), {}, 8, "8 for 16 cores and a GPU"),
        (machine(64), {}, 8, "8 for 64 cores and a GPU"),
        (machine(6), {}, 3, "3 for 6 cores and a GPU"),
        (machine(3), {}, 0, "on 3 cores"),
        (machine(64, gpu=False), {}, 0, "there is no GPU"),
        (machine(64), {"stack": "ort-cpu"}, 0, "the stack ort-cpu uses no GPU"),
        (machine(2, gpu=False), {"frontends": "4"}, 4, "frontends = 4"),
        (machine(16), {"frontends": 0}, 0, "frontends = 0"),
    ],
)
def test_auto_and_numbers(facts, flags, expected, reason):
    found = count(facts, **flags)
    assert found.front_ends == expected
    assert reason in found.reason
    assert not found.shortage


def test_each_front_end_has_room_for_a_largest_body():
    for memory in range(GIB // 2, 8 * GIB, GIB // 4):
        for body in (GIB // 64, GIB // 16, GIB // 2):
            found = count(machine(4, memory), frontends=16, max_body_bytes=body)
            if found.front_ends:
                assert found.body_bytes >= body
                assert found.body_bytes * found.front_ends < memory


def test_fewer_front_ends_where_the_memory_does_not_fit():
    found = count(machine(16, GIB), frontends=8)
    assert found.front_ends == 3
    assert "1024 MiB of memory are enough for 3 of 8 front ends: each takes 224" in found.shortage
    none = count(machine(16, GIB // 4), frontends=8)
    assert none.front_ends == 0
    assert none.shortage.endswith("one process does everything")


@pytest.mark.parametrize(
    ("raw", "words"),
    [("some", "must be auto or a whole number, found 'some'"), ("-1", "at least 0"),
     (True, "must be auto or a whole number"), (65, "at most 64"), ("1.5", "a whole number")],
)  # fmt: skip
def test_values_of_the_setting(raw, words):
    with pytest.raises(SettingInvalid, match=words):
        load_settings(environment={}, flags={"frontends": raw})
    assert load_settings(environment={"ENGINECRATE_FRONTENDS": "auto"}).frontends == "auto"
    assert load_settings(environment={"ENGINECRATE_FRONTENDS": "3"}).frontends == 3


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_limit_of_a_container(tmp_path):
    whole = memory_limit(tmp_path)
    assert whole > GIB // 2
    write(tmp_path / "sys/fs/cgroup/memory.max", "max\n")
    assert memory_limit(tmp_path) == whole
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{GIB // 4}\n")
    assert memory_limit(tmp_path) == GIB // 4
    write(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path / "sys/fs/cgroup/a/memory.max", f"{GIB // 8}\n")
    assert memory_limit(tmp_path) == GIB // 8


def test_a_gpu_is_seen_by_its_device(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not machine_facts(tmp_path).has_gpu
    write(tmp_path / "dev/nvidiactl", "")
    assert machine_facts(tmp_path).has_gpu
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not machine_facts(tmp_path).has_gpu


def test_pauses_double_and_too_many_crashes_end_the_server():
    restarts = Restarts()
    pauses = [restarts.crashed("engine", "ended", 100.0 + at) for at in range(4)]
    assert pauses == [0.1, 0.2, 0.4, 0.8]
    with pytest.raises(ServerProcessFailed, match=r"engine, front end 2.*front end 2 was killed"):
        restarts.crashed("front end 2", "was killed", 104.0)


def test_crashes_long_ago_do_not_count():
    restarts = Restarts()
    assert [restarts.crashed("engine", "ended", 61.0 * at) for at in range(20)] == [0.1] * 20
