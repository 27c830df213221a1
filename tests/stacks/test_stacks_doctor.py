import dataclasses
import socket
import sys
from pathlib import Path

import pytest

from enginecrate.settings import load_settings
from enginecrate.stacks.doctor import examine
from enginecrate.stacks.machine import (
    CacheFacts,
    Machine,
    NvidiaFacts,
    RuntimeFacts,
    probe_machine,
)

GIB = 1024**3
SOUND = Machine(
    python=(3, 11, 7),
    system="Linux",
    architecture="x86_64",
    cores=4,
    memory_bytes=8 * GIB,
    runtime=RuntimeFacts("1.22.0", ("CUDAExecutionProvider", "CPUExecutionProvider")),
    cache=CacheFacts(Path("/cache"), 50 * GIB),
    host="127.0.0.1",
    port=8000,
    port_problem="",
    clock=1.8e9,
    newest_file=1.7e9,
    nvidia=NvidiaFacts("580.65.06", ("NVIDIA L4",)),
    packages={"numpy": "2.0", "onnx": "1.18"},
)


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
        ({"nvidia": NvidiaFacts()}, "nvidia", "warn", "no NVIDIA driver"),
        ({"nvidia": NvidiaFacts("550.1", (), "no GPU")}, "nvidia", "warn", "no GPU"),
    ],
)
def test_each_fault_is_found_and_has_a_cure(
    change: dict[str, object], check: str, status: str, words: str
):
    findings = examine(dataclasses.replace(SOUND, **change))
    wrong = [finding for finding in findings if finding.status != "ok"]
    assert [(finding.check, finding.status) for finding in wrong] == [(check, status)]
    assert words in wrong[0].message
    assert wrong[0].cure


def test_this_machine(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            "ENGINECRATE_CACHE_DIR": str(tmp_path / "not" / "yet"),
            "ENGINECRATE_HTTP_PORT": str(port),
        }
        machine = probe_machine(load_settings(environment=environment))
    assert machine.python == sys.version_info[:3]
    assert machine.cores >= 1
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
    assert probe_machine(settings).cache.problem == "Not a directory"
