import dataclasses
import os
import socket
import sys
from pathlib import Path

import pytest

from enginecrate.manifest import ManifestFile, parse_manifest
from enginecrate.settings import load_settings
from enginecrate.stacks.doctor import Finding, examine
from enginecrate.stacks.doctor.project_facts import ProjectFacts
from enginecrate.stacks.lock import make_lock
from enginecrate.stacks.machine.containers import ContainerFacts
from enginecrate.stacks.machine.devices import Gpu
from enginecrate.stacks.machine.libraries import SAME_MODULE, Library
from enginecrate.stacks.machine.machine import (
    CacheFacts,
    Machine,
    NvidiaFacts,
    RuntimeFacts,
    probe_gpus,
    probe_machine,
)
from enginecrate.values import ComputeCapability, Digest

GIB = 1024**3
L4 = Gpu(0, "NVIDIA L4", ComputeCapability(8, 9), 24 * GIB, 23 * GIB)
H200 = Gpu(1, "NVIDIA H200", ComputeCapability(9, 0), 140 * GIB, 139 * GIB, "disabled")
CUDNN = Library("cuDNN", "libcudnn.so.9", Path("/a/libcudnn.so.9"), "9.19.0", "package")
OTHER_CUDNN = dataclasses.replace(CUDNN, version="9.1.0", origin="LD_LIBRARY_PATH")
SOUND = Machine(
    python=(3, 11, 7),
    system="Linux",
    architecture="x86_64",
    cores=4,
    usable_cores=4,
    memory_bytes=8 * GIB,
    runtime=RuntimeFacts("1.22.0", ("CUDAExecutionProvider", "CPUExecutionProvider")),
    cache=CacheFacts(Path("/cache"), 50 * GIB),
    host="127.0.0.1",
    port=8000,
    port_problem="",
    clock=1.8e9,
    newest_file=1.7e9,
    nvidia=NvidiaFacts("580.65.06", (L4, H200)),
    packages={"numpy": "2.0", "onnx": "1.18"},
    libraries=(CUDNN, dataclasses.replace(CUDNN, path=Path("/b/libcudnn.so.9"), version="9")),
    engine_packages={"onnxruntime": "1.32.0"},
    containers=ContainerFacts(engines=("docker",), toolkit=("nvidia-ctk",)),
)


def nvidia(*gpus: Gpu, driver: str = "580.65.06") -> dict[str, object]:
    return {"nvidia": NvidiaFacts(driver, gpus)}


def test_a_container_that_may_use_some_of_the_cores():
    findings = examine(dataclasses.replace(SOUND, usable_cores=2))
    (cores,) = [one for one in findings if one.check == "cores"]
    assert cores.status == "ok"
    assert cores.message.startswith("2 of 4 CPU cores may be used")


def test_a_sound_machine_has_nothing_to_cure():
    findings = examine(SOUND)
    assert {finding.status for finding in findings} == {"ok"}
    assert not any(finding.cure for finding in findings)
    assert len({finding.check for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("change", "check", "status", "words"),
    [
        ({"python": (3, 10, 2)}, "python", "fail", "3.10.2"),
        ({"system": "Darwin"}, "platform", "warn", "Darwin"),
        ({"memory_bytes": GIB // 2}, "memory", "warn", "0.5 GiB"),
        ({"packages": {"numpy": "2", "onnx": None}}, "packages", "fail", "onnx"),
        ({"packages": {}}, "packages", "warn", "without being installed"),
        ({"runtime": RuntimeFacts(problem="ImportError: libc")}, "onnxruntime", "fail", "libc"),
        ({"runtime": RuntimeFacts("1.22", ("X",))}, "onnxruntime", "fail", "CPU provider"),
        ({"cache": CacheFacts(Path("/c"), problem="Read-only")}, "cache", "fail", "Read-only"),
        ({"cache": CacheFacts(Path("/c"), GIB, owned=False)}, "cache", "fail", "another user"),
        ({"cache": CacheFacts(Path("/c"), GIB // 4)}, "disk", "warn", "0.2 GiB"),
        ({"port_problem": "another program listens on it"}, "port", "warn", "8000"),
        ({"clock": 0.0}, "clock", "warn", "1970-01-01"),
        ({"nvidia": NvidiaFacts(hardware=True)}, "nvidia", "warn", "no NVIDIA driver"),
        ({"nvidia": NvidiaFacts("550.1", problem="no GPU")}, "nvidia", "warn", "no GPU"),
        ({"nvidia": NvidiaFacts("550.1")}, "nvidia", "warn", "lists no GPU"),
        (nvidia(dataclasses.replace(L4, mig="enabled")), "mig", "warn", "slice"),
        (nvidia(dataclasses.replace(L4, compute_mode="Exclusive_Process")), "compute mode", "warn",
         "one process"),
        (nvidia(dataclasses.replace(L4, compute_mode="Prohibited")), "gpu 0", "fail", "Prohibited"),
        (nvidia(dataclasses.replace(L4, free_bytes=GIB)), "gpu 0", "warn", "1.0 of 24.0 GiB"),
        (nvidia(L4, driver="470.82"), "stacks", "warn", "driver"),
        (nvidia(dataclasses.replace(L4, compute_capability=ComputeCapability(6, 1))), "stacks",
         "warn", "6.1"),
        ({"nvidia": NvidiaFacts("580.65.06", (L4,), hidden=1)}, "visible", "fail", "1 of 1"),
        ({"libraries": (CUDNN, OTHER_CUDNN)}, "cudnn", "warn", "is there, too"),
        ({"containers": ContainerFacts(engines=("docker",))}, "containers", "warn", "docker"),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_has_a_cure(
    change: dict[str, object], check: str, status: str, words: str
):
    findings = examine(dataclasses.replace(SOUND, **change))
    wrong = [finding for finding in findings if finding.status != "ok"]
    assert [(finding.check, finding.status) for finding in wrong] == [(check, status)]
    assert words in wrong[0].message
    assert wrong[0].cure


INSIDE = ContainerFacts(inside=True)


def test_a_healthy_container_has_nothing_to_cure():
    """Without a GPU, beside the server that runs in it, on a machine whose GPU it does not get."""
    machine = dataclasses.replace(
        SOUND,
        nvidia=NvidiaFacts(hardware=True),
        containers=INSIDE,
        has_plans=True,
        port_problem="another program listens on it",
        serves=True,
    )
    findings = examine(machine)
    assert {finding.status for finding in findings} == {"ok"}
    assert not any(finding.cure for finding in findings)


def test_an_image_whose_user_may_not_write_to_the_cache_still_serves():
    cache = CacheFacts(Path("/cache"), problem="Permission denied")
    machine = dataclasses.replace(SOUND, cache=cache, containers=INSIDE, has_plans=True, uid=12345)
    (wrong,) = [finding for finding in examine(machine) if finding.status != "ok"]
    assert (wrong.check, wrong.status) == ("cache", "warn")
    assert "user 12345" in wrong.cure
    (wrong,) = [
        finding
        for finding in examine(dataclasses.replace(machine, has_plans=False))
        if finding.status != "ok"
    ]
    assert (wrong.check, wrong.status) == ("cache", "fail")


def test_a_package_that_brings_the_same_module_will_do(tmp_path: Path, monkeypatch):
    (tmp_path / "engine_gpu-1.5.dist-info").mkdir()
    (tmp_path / "engine_gpu-1.5.dist-info" / "METADATA").write_text(
        "Name: engine-gpu\nVersion: 1.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SAME_MODULE, "engine", "engine-gpu")
    monkeypatch.setattr("importlib.metadata.requires", lambda _: ["engine>=1", "nothing>=1"])
    packages = probe_machine(load_settings(environment={}), 2).packages
    assert packages == {"engine": "1.5", "nothing": None}


def test_this_machine(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            "ENGINECRATE_CACHE_DIR": str(tmp_path / "not" / "yet"),
            "ENGINECRATE_HTTP_PORT": str(port),
        }
        machine = probe_machine(load_settings(environment=environment), 2)
    assert machine.python == sys.version_info[:3]
    assert (machine.cores, machine.usable_cores) == (os.cpu_count(), 2)
    assert machine.memory_bytes > GIB // 4
    assert "CPUExecutionProvider" in machine.runtime.providers
    assert machine.cache.problem == ""
    assert machine.cache.free_bytes > 0
    assert machine.port_problem == "another program listens on it"
    assert machine.packages["numpy"] is not None
    assert "pytest" not in machine.packages
    assert not (tmp_path / "not").exists()


def test_a_cache_folder_that_is_a_file(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    settings = load_settings(environment={"ENGINECRATE_CACHE_DIR": str(file)})
    assert probe_machine(settings, 2).cache.problem == "Not a directory"


def test_the_cure_for_a_missing_gpu_depends_on_where_it_is_missing():
    inside = ContainerFacts(inside=True)
    facts = NvidiaFacts("580.65.06", problem="NVML: Driver Not Loaded")
    cures = {
        place: next(
            finding.cure
            for finding in examine(dataclasses.replace(SOUND, nvidia=facts, containers=containers))
            if finding.check == "nvidia"
        )
        for place, containers in (("inside", inside), ("outside", ContainerFacts()))
    }
    assert "--gpus all" in cures["inside"]
    assert "--gpus all" not in cures["outside"]


def test_a_second_version_in_the_system_is_mentioned_and_does_no_harm():
    other = dataclasses.replace(CUDNN, version="9.14.0", origin="system")
    found = examine(dataclasses.replace(SOUND, libraries=(CUDNN, other)))
    finding = next(finding for finding in found if finding.check == "cudnn")
    assert finding.status == "ok"
    assert "9.14.0" in finding.message


def test_mps_shares_an_exclusive_gpu():
    machine = dataclasses.replace(
        SOUND,
        nvidia=NvidiaFacts(
            "580.65.06", (dataclasses.replace(L4, compute_mode="Exclusive_Process"),)
        ),
        mps=True,
    )
    assert [f.status for f in examine(machine) if f.check in ("mps", "compute mode")] == ["ok"]


def test_the_gpus_of_this_machine_are_asked_without_an_error():
    assert all(isinstance(gpu, Gpu) for gpu in probe_gpus())


MANIFEST = """
[app]
name = "app"
version = "1.0.0"
[model]
path = "m.onnx"
[pipeline]
task = "tensors"
[targets]
stacks = [{stacks}]
"""


def project(*stacks: str, locked: bool = True) -> ProjectFacts:
    data = MANIFEST.format(stacks=", ".join(f'"{name}"' for name in stacks)).encode()
    path = Path("/project/enginecrate.toml")
    file = ManifestFile(path, path.parent, Digest.of(data), parse_manifest(data, path))
    return ProjectFacts(path, file, lock=make_lock(file) if locked else None)


def about(facts: ProjectFacts, machine: Machine = SOUND) -> dict[str, Finding]:
    found = {finding.check: finding for finding in examine(machine, facts)}
    return {
        check: f for check, f in found.items() if check not in {f.check for f in examine(machine)}
    }


NO_GPU = dataclasses.replace(SOUND, nvidia=NvidiaFacts())


def test_a_project_that_this_machine_can_serve():
    found = about(project("ort-cpu"))
    assert {check: finding.status for check, finding in found.items()} == {
        "manifest": "ok",
        "lock": "ok",
        "stack ort-cpu": "ok",
    }


@pytest.mark.parametrize(
    ("facts", "machine", "check", "status", "words"),
    [
        (ProjectFacts(Path("/p"), problem="no manifest at /p"), SOUND, "manifest", "fail", "/p"),
        (project("ort-cpu", locked=False), SOUND, "lock", "warn", "no enginecrate.lock"),
        (dataclasses.replace(project("ort-cpu", locked=False), lock_problem="stale"), SOUND,
         "lock", "fail", "stale"),
        (project("ort-cpu"), dataclasses.replace(SOUND, engine_packages={"onnxruntime": "1.30"}),
         "stack ort-cpu", "warn", "1.30 is installed in place of 1.32.0"),
        (project("ort-cpu", "ort-cuda130"), SOUND, "stack ort-cuda130", "warn",
         "onnxruntime-gpu 1.31.1 is not installed"),
        (project("ort-cpu", "trt86-cuda122"), NO_GPU, "stack trt86-cuda122", "warn",
         "cannot run here"),
        (project("ort-cpu", "trtrtx17-cuda130"), NO_GPU, "stack trtrtx17-cuda130", "warn",
         "can be built here, though"),
        (project("ort-cpu", "trt103-jetpack62"), SOUND, "stack trt103-jetpack62", "warn",
         "linux/arm64"),
    ],
)  # fmt: skip
def test_a_project_that_needs_something(
    facts: ProjectFacts, machine: Machine, check: str, status: str, words: str
):
    wrong = {name: f for name, f in about(facts, machine).items() if f.status != "ok"}
    assert {name: f.status for name, f in wrong.items()} == {check: status}
    assert words in wrong[check].message
    assert wrong[check].cure


def test_a_project_for_other_machines_alone():
    found = about(project("trt114-cuda130"), NO_GPU)
    assert found["targets"].status == "fail"


def test_a_project_with_a_stack_that_there_is_not():
    facts = project("ort-cpu", "ort-cuda13", locked=False)
    assert "did you mean 'ort-cuda130'" in about(facts)["stack ort-cuda13"].message
