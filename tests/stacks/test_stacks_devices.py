"""GPUs that a process may use by CUDA_VISIBLE_DEVICES."""

import pytest

from enginecrate.stacks.machine.devices import Gpu, visible_gpus
from enginecrate.values import ComputeCapability

GPUS = [
    (Gpu(0, "NVIDIA H200", ComputeCapability(9, 0), mig="disabled"), "GPU-78ec9f4f-956c-313d"),
    (Gpu(1, "NVIDIA A100", ComputeCapability(8, 0), mig="enabled"), "GPU-11111111-956c-313d"),
    (Gpu(2, "Orin (nvgpu)", ComputeCapability(8, 7)), "GPU-22222222-956c-313d"),
]


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
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert [gpu.index for gpu, _ in visible_gpus(GPUS, environment)] == left
