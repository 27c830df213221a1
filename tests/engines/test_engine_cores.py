import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginecrate.engines.cpu_cores import available_cores


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


def machine(root: Path, groups: str, **files: str) -> Path:
    """A folder with /proc/self/cgroup and files of control groups; `__` stands for `/`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def v2(root: Path, group: str, **quotas: str) -> Path:
    """Version 2; each quota by the folder of its group."""
    files = {f"{folder}__cpu.max".removeprefix("__"): text for folder, text in quotas.items()}
    return machine(root, f"0::{group}\n", **files)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("100000 100000", 1), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", 4)],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, quota: str, cores: int):
    assert available_cores(v2(tmp_path, "/", **{"": quota})) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 4)])
def test_the_older_control_groups(tmp_path: Path, quota: str, cores: int):
    files = {"cpu__cpu.cfs_quota_us": quota, "cpu__cpu.cfs_period_us": "100000"}
    assert available_cores(machine(tmp_path, "4:memory:/\n1:cpu:/\n0::/\n", **files)) == cores


def test_without_quota_it_is_the_affinity(tmp_path: Path):
    assert available_cores(tmp_path / "none") == 4


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"": "max", "system.slice": "max 100000", "system.slice__a.service": "100000 100000"}, 1),
        ({"system.slice": "250000 100000", "system.slice__a.service": "max 100000"}, 3),
        ({"system.slice": "100000 100000", "system.slice__a.service": "300000 100000"}, 1),
        ({"system.slice": "300000 100000", "system.slice__a.service": "100000 50000"}, 2),
        ({"other.slice": "100000 100000"}, 4),
    ],
    ids=["own", "parent", "least above", "least below", "another"],
)
def test_the_least_quota_on_the_way_up_counts(tmp_path: Path, quotas: dict[str, str], cores: int):
    assert available_cores(v2(tmp_path, "/system.slice/a.service", **quotas)) == cores


def test_nested_groups_of_version_1(tmp_path: Path):
    files = {"cpu,cpuacct__kubepods__pod1__cpu.cfs_quota_us": "200000",
             "cpu,cpuacct__kubepods__pod1__cpu.cfs_period_us": "100000",
             "cpu,cpuacct__kubepods__pod1__c__cpu.cfs_quota_us": "-1",
             "cpu,cpuacct__kubepods__pod1__c__cpu.cfs_period_us": "100000"}  # fmt: skip
    groups = "12:pids:/kubepods/pod1/c\n3:cpu,cpuacct:/kubepods/pod1/c\n2:cpuset:/\n"
    assert available_cores(machine(tmp_path, groups, **files)) == 2


def test_hybrid_groups(tmp_path: Path):
    """systemd keeps version 2 at `unified`, without controllers."""
    files = {"unified__user.slice__cgroup.procs": "1", "cpu__user.slice__cpu.cfs_quota_us": "50000",
             "cpu__user.slice__cpu.cfs_period_us": "100000"}  # fmt: skip
    groups = "2:cpu:/user.slice\n1:name=systemd:/user.slice\n0::/user.slice\n"
    assert available_cores(machine(tmp_path, groups, **files)) == 1


def test_a_group_outside_of_the_namespace(tmp_path: Path):
    """Of the host's groups a container may see its own only, at the mount's root."""
    root = v2(tmp_path, "/../../machine.slice/x.scope", **{"": "100000 100000"})
    assert available_cores(root) == 1


def test_the_host_s_path_where_the_mount_shows_the_own_group_only(tmp_path: Path):
    root = v2(tmp_path, "/machine.slice/libpod-1.scope", **{"": "200000 100000"})
    assert available_cores(root) == 2


def test_odd_files(tmp_path: Path):
    root = machine(tmp_path, "nonsense\n0::/a:b\n::\n", **{"a:b__cpu.max": "100000 100000",
                   "cpu.max": "1 0"})  # fmt: skip
    assert available_cores(root) == 1


CPU = Path("/sys/fs/cgroup/cpu")
_ASK = "from enginecrate.engines.cpu_cores import available_cores\nprint(available_cores())"


@pytest.mark.skipif(not os.access(CPU, os.W_OK), reason="needs groups of version 1 as root")
@pytest.mark.parametrize("limited", ["parent", "parent/child"])
def test_a_real_group(limited: str):
    top = CPU / f"enginecrate-{os.getpid()}"
    child = top / "parent" / "child"
    child.mkdir(parents=True)
    try:
        (top / limited / "cpu.cfs_period_us").write_text("100000")
        (top / limited / "cpu.cfs_quota_us").write_text("100000")
        join = f"open({str(child / 'cgroup.procs')!r}, 'w').write('0')\n{_ASK}"
        done = subprocess.run([sys.executable, "-c", join], capture_output=True, text=True)
        assert done.stdout == "1\n", done.stderr
    finally:
        for folder in (child, child.parent, top):
            folder.rmdir()
