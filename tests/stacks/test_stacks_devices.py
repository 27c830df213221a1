"""What is read of the driver: the answer of nvidia-smi, and CUDA_VISIBLE_DEVICES."""

import pytest

from enginecrate.stacks.machine.devices import Gpu, parse_smi, visible_gpus
from enginecrate.values import ComputeCapability

ANSWER = """\
0, NVIDIA H200, GPU-78ec9f4f-956c-313d-a5b8-7f80d07b013a, 9.0, 143771, 143156, Disabled, Default, \
580.159.04
1, NVIDIA A100-SXM4-80GB, GPU-11111111-956c-313d-a5b8-7f80d07b013a, 8.0, 81920, 1, Enabled, \
Exclusive_Process, 580.159.04
2, Orin (nvgpu), GPU-22222222-956c-313d-a5b8-7f80d07b013a, 8.7, [N/A], [N/A], [N/A], [N/A], 540.4.0
something else
"""
MIB = 2**20


def test_the_answer_of_nvidia_smi():
    devices, driver = parse_smi(ANSWER)
    first, second, third = (gpu for gpu, _ in devices)
    assert first == Gpu(
        0, "NVIDIA H200", ComputeCapability(9, 0), 143771 * MIB, 143156 * MIB, "disabled", "Default"
    )
    assert (second.mig, second.compute_mode) == ("enabled", "Exclusive_Process")
    assert (third.name, third.memory_bytes, third.mig) == ("Orin (nvgpu)", 0, "")
    assert driver == "540.4.0"


@pytest.mark.parametrize(
    "text", ["", "No devices were found\n", "a, b, c\n", "0, x, y, z, 1, 1, -, -, 1\n"]
)
def test_odd_answers_of_nvidia_smi(text: str):
    assert parse_smi(text) == ([], "")


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 0 , 1 ", [0, 1]),
        ("0,9,1", [0]),
        ("0,0", [0]),
        ("-1", []),
        ("GPU-11111111", [1]),
        ("GPU-", []),
        ("NoDevFiles", []),
        ("MIG-GPU-11111111/1/0", [1]),
    ],
)
def test_gpus_that_a_process_may_use(value: str | None, left: list[int]):
    devices, _ = parse_smi(ANSWER)
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert [gpu.index for gpu, _ in visible_gpus(devices, environment)] == left
