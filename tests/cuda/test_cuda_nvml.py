"""What NVML tells of the GPUs, asked of a library that answers without any (fake_driver)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enginecrate.cuda.nvml import NvmlDevice, NvmlError, NvmlMissing, NvmlUsage, read_nvml
from fake_driver import compiled


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("nvml.c", tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


H200 = NvmlDevice(
    0, "NVIDIA H200", "GPU-78ec9f4f-956c", (9, 0), 150754820096, 150110011392, "enabled",
    "Exclusive_Process",
)  # fmt: skip
ORIN = NvmlDevice(1, "Orin (nvgpu)", "GPU-22222222-956c", (8, 7), 0, 0, "", "9")


def test_the_driver_and_its_gpus(nvml: Path):
    assert read_nvml(str(nvml)) == ("580.159.04", [H200, ORIN])


def test_what_the_gpus_do(nvml: Path):
    usage = NvmlUsage(str(nvml))
    assert usage.names == [H200.name, ORIN.name]
    assert [usage.sample() for _ in range(2)] == [((0.83, 644808704), (0.0, 0))] * 2
    usage.close()


def test_a_function_that_an_older_driver_does_not_have(tmp_path: Path):
    older = compiled("nvml.c", tmp_path / "libnvidia-ml.so.1", "-DOLD")
    assert [device.compute_mode for device in read_nvml(str(older))[1]] == ["Default", "Default"]


def test_a_library_that_fails_or_is_missing(
    nvml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FAKE_NVML", "broken")
    with pytest.raises(NvmlError, match=r"NVML: Driver/library version mismatch \(nvmlInit_v2\)"):
        read_nvml(str(nvml))
    with pytest.raises(NvmlMissing, match=r"libnvidia-ml.so.1 cannot be loaded"):
        read_nvml(str(tmp_path / "libnvidia-ml.so.1"))
    no_nvml = compiled("cuda.c", tmp_path / "another.so")
    with pytest.raises(NvmlError, match="this driver's NVML has no nvmlInit_v2"):
        read_nvml(str(no_nvml))


PROBE = """
from enginecrate.stacks.machine.devices import probe_gpus, probe_nvidia
found = probe_nvidia()
names = [gpu.name for gpu in probe_gpus()]
print(found.driver, len(found.gpus), found.hidden, names, found.problem, sep="; ")
"""


@pytest.mark.parametrize(
    ("fake", "visible", "said"),
    [
        ("", None, "580.159.04; 2; 0; ['NVIDIA H200', 'Orin (nvgpu)']; "),
        ("", "GPU-2222", "580.159.04; 2; 1; ['Orin (nvgpu)']; "),
        ("none", None, "580.159.04; 0; 0; []; the driver lists no GPU"),
        ("broken", None, "; 0; 0; []; NVML: Driver/library version mismatch (nvmlInit_v2)"),
    ],
)
def test_facts_about_the_machine(nvml: Path, fake: str, visible: str | None, said: str):
    environment = os.environ | {"LD_LIBRARY_PATH": str(nvml.parent), "FAKE_NVML": fake}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said + "\n", "")
