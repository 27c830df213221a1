"""The rungs of a machine, those that may serve, and the order in which they are climbed."""

from pathlib import Path

import msgspec
import pytest

from enginecrate.builder.ladder.child_process import Failed, error_of
from enginecrate.builder.ladder.rungs import (
    MachineFacts,
    below_minimum,
    choose_stack,
    climb_order,
    is_quick,
    machine_facts,
    rungs,
)
from enginecrate.builder.plans.memory import free_bytes, session_bytes
from enginecrate.errors import BuildOutOfMemory, MissingExtra, StackUnknown, StackUnsupported
from enginecrate.manifest import Manifest
from enginecrate.stacks.catalog import get_stack
from enginecrate.values import ComputeCapability

CPU = MachineFacts((), "", {"onnxruntime": ("cpu",)}, {"tensorrt_rtx": "no driver; install it"})
L4 = ComputeCapability(8, 9)
H200 = ComputeCapability(9, 0)
WITH_L4 = MachineFacts(
    (L4,), "590.10", {"onnxruntime": ("cpu", "cuda"), "tensorrt_rtx": ("sm89",)}, {}
)
WITH_H200 = MachineFacts(
    (H200,), "590.10", {"onnxruntime": ("cpu", "cuda"), "tensorrt_rtx": ()},
    {"tensorrt_rtx": "TensorRT-RTX does not run on 9.0"},
)  # fmt: skip
RTX, ORT_CUDA, ORT_CPU = map(get_stack, ("trtrtx17-cuda130", "ort-cuda130", "ort-cpu"))


def manifest(mode: str = "int8", precisions: tuple[str, ...] = (), stacks=("ort-cpu",)) -> Manifest:
    return msgspec.convert(
        {
            "app": {"name": "a", "version": "1.0.0"},
            "model": {"path": "m.onnx"},
            "pipeline": {"task": "tensors"},
            "precision": {"mode": mode},
            "targets": {"stacks": stacks, "precisions": precisions},
        },
        Manifest,
    )


def names(ladder) -> list[tuple[str, str, str]]:
    return [(one.rung.backend, one.device, str(one.precision)) for one in ladder.targets]


def test_the_ladder_of_a_gpu_stack():
    ladder = rungs(manifest("int8", ("fp16",)), RTX, WITH_L4, "cpu")
    assert names(ladder) == [
        ("tensorrt_rtx", "sm89", "int8"),
        ("tensorrt_rtx", "sm89", "fp16"),
        ("tensorrt_rtx", "sm89", "fp32"),
        ("onnxruntime", "cpu", "int8"),
        ("onnxruntime", "cpu", "fp32"),
    ]


def test_the_last_resort_has_only_the_precisions_that_it_runs_well():
    ladder = rungs(manifest("fp16", ("int8",)), RTX, WITH_L4, "cpu")
    assert names(ladder)[3:] == [("onnxruntime", "cpu", "fp32")]


def test_the_ladder_of_the_cpu_stack_has_every_precision_that_is_wanted():
    ladder = rungs(manifest("int8", ("fp16", "bf16")), ORT_CPU, CPU)
    assert [str(one.precision) for one in ladder.targets] == ["int8", "fp16", "fp32"]
    (left,) = ladder.left_out
    assert left.target == "ort-cpu, bf16 for cpu"
    assert "does not run bf16" in left.reason


def test_fp32_alone_is_one_rung():
    assert len(rungs(manifest("fp32"), ORT_CPU, CPU).targets) == 1


def test_a_gpu_stack_does_not_serve_on_the_cpu_unless_it_is_allowed():
    wanted = manifest("fp16")
    with pytest.raises(StackUnsupported) as caught:
        rungs(wanted, RTX, CPU, "auto")
    message = str(caught.value)
    assert "no engine of the stack trtrtx17-cuda130 may serve here" in message
    assert "needs an NVIDIA driver" in message
    assert "minimum_engine = cpu" in message
    assert names(rungs(wanted, RTX, CPU, "cpu")) == [("onnxruntime", "cpu", "fp32")]
    assert [one.device for one in rungs(wanted, RTX, WITH_L4, "auto").targets] == ["sm89", "sm89"]


def test_what_is_said_when_only_the_cpu_engine_of_a_gpu_stack_can_serve():
    words = below_minimum(rungs(manifest("fp16"), RTX, CPU, "cpu"))
    assert "only the CPU engine of trtrtx17-cuda130" in words
    assert "needs an NVIDIA driver" in words
    assert "ENGINECRATE_MINIMUM_ENGINE=cpu" in words


def test_minimum_engine_gpu_holds_for_every_stack():
    with pytest.raises(StackUnsupported, match="minimum_engine = cpu"):
        rungs(manifest(), ORT_CPU, CPU, "gpu")


@pytest.mark.parametrize(
    ("here", "reason"),
    [
        (MachineFacts((H200,), "590.10", WITH_L4.devices, {}), "9.0"),
        (MachineFacts((L4,), "520.10", WITH_L4.devices, {}), "driver >= 580"),
        (MachineFacts((), "590.10", WITH_L4.devices, {}), "no GPU was found"),
        (
            MachineFacts((L4,), "590.10", {"onnxruntime": ("cpu",)}, {"tensorrt_rtx": "not there"}),
            "not th",
        ),
        (
            MachineFacts((L4,), "590.10", {"tensorrt_rtx": ("sm80",)}, {}),
            "here on sm80, not on sm89",
        ),
    ],
)
def test_why_a_gpu_rung_is_left_out(here: MachineFacts, reason: str):
    with pytest.raises(StackUnsupported, match=reason):
        rungs(manifest("fp32"), RTX, here)


def test_a_precision_that_the_gpu_does_not_have():
    t4 = MachineFacts((ComputeCapability(7, 5),), "590.10", {"tensorrt_rtx": ("sm75",)}, {})
    ladder = rungs(manifest("fp8"), RTX, t4)
    assert [str(one.precision) for one in ladder.targets] == ["fp32"]
    assert "has no fp8" in ladder.left_out[0].reason


def test_which_stack_serves():
    both = manifest(stacks=("trtrtx17-cuda130", "ort-cuda130", "ort-cpu"))
    assert choose_stack(both, "", WITH_L4) == RTX
    assert choose_stack(both, "", WITH_H200) == ORT_CUDA
    assert choose_stack(both, "", CPU) == ORT_CPU
    assert choose_stack(manifest(stacks=("trtrtx17-cuda130",)), "", CPU) == RTX
    assert choose_stack(both, "ort-cpu", WITH_L4) == ORT_CPU
    with pytest.raises(StackUnknown, match="did you mean 'ort-cpu'"):
        choose_stack(both, "ort-cp", WITH_L4)


def test_what_is_quick():
    quick = [is_quick(one) for one in rungs(manifest("int8"), ORT_CPU, CPU).targets]
    assert quick == [False, True]
    assert not any(is_quick(one) for one in rungs(manifest("fp32"), ORT_CUDA, WITH_L4).targets)


def test_the_order_of_climbing():
    cpu = rungs(manifest("int8", ("fp16",)), ORT_CPU, CPU).targets
    assert climb_order(cpu, 2) == [1, 0]
    assert climb_order(cpu, 0) == []
    assert climb_order(cpu, None) == [2, 1, 0]
    gpu = rungs(manifest("int8", ("fp16",)), RTX, WITH_L4, "cpu").targets
    assert climb_order(gpu, 4) == [2, 1, 0, 3]  # the CPU's INT8 only when every GPU rung fails
    assert climb_order(gpu, None) == [2, 1, 0, 4, 3]


def test_this_machine():
    here = machine_facts([ORT_CPU, RTX])
    assert "cpu" in here.devices["onnxruntime"]
    # What cannot run here says why.
    assert "tensorrt_rtx" in here.devices or here.missing["tensorrt_rtx"]
    assert machine_facts([ORT_CPU]).capabilities == ()  # the stack has no rung for GPUs


def test_errors_cross_the_border_with_their_code():
    error = error_of(Failed(BuildOutOfMemory.code, "too much"))
    assert type(error) is BuildOutOfMemory
    assert str(error) == "too much"
    assert str(error_of(Failed(MissingExtra.code, "x is not installed"))) == "x is not installed"
    assert str(error_of(Failed("EC9999", "from the future"))) == "from the future"


def container(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_free_memory(tmp_path: Path):
    proc = container(tmp_path / "proc", {"meminfo": "MemTotal: 9 kB\nMemAvailable: 4096 kB\n"})
    assert free_bytes(proc, tmp_path) == 4096 * 1024
    second = {"memory.max": "1000000\n", "memory.current": "900000\n",
              "memory.stat": "anon 1\ninactive_file 300000\n"}  # fmt: skip
    assert free_bytes(proc, container(tmp_path / "v2", second)) == 400_000
    first = {"memory/memory.limit_in_bytes": "1000000", "memory/memory.usage_in_bytes": "900000",
             "memory/memory.stat": "total_inactive_file 0\n"}  # fmt: skip
    assert free_bytes(proc, container(tmp_path / "v1", first)) == 100_000
    unlimited = {**second, "memory.max": "max\n"}
    assert free_bytes(proc, container(tmp_path / "none", unlimited)) == 4096 * 1024
    assert free_bytes(tmp_path / "nothing", tmp_path) == 0


def test_memory_of_a_session(tmp_path: Path):
    def process(pid: int, session: int, resident: int, name: str = "a") -> dict[str, str]:
        return {f"{pid}/stat": f"{pid} ({name}) S 1 {pid} {session} 0 -1\n",
                f"{pid}/statm": f"9000 {resident} 100 1 0 1 0\n"}  # fmt: skip

    files = process(7, 7, 300) | process(8, 7, 200, "odd) name (") | process(9, 3, 5000)
    proc = container(tmp_path, {**files, "10/stat": ""})
    assert session_bytes(7, proc) == 300 * 4096
    assert session_bytes(99, proc) == 0
