"""Plan x GPU x driver x stack: yes, or which rule says no and what to do."""

from typing import Any

import msgspec
import pytest

from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.compatibility import check, runs_precision
from enginecrate.stacks.machine.devices import Gpu
from enginecrate.stacks.stack_rules import check_stack, stacks_for
from enginecrate.stacks.versions import at_least, numbers, same_release
from enginecrate.values import (
    ComputeCapability,
    DataType,
    LayerPrecision,
    PlanInfo,
    Precision,
    TensorSpec,
)

GIB = 2**30
IMAGE = TensorSpec("x", DataType.FP32, (-1, 3, 8, 8))
TRT10 = PlanInfo(
    backend="tensorrt",
    backend_version="10.16.1.11",
    tool_version="1.0",
    stack="trt1016-cuda130",
    platform="linux/amd64",
    device="sm86",
    model_digest="",
    graph_digest="",
    plan_digest="",
    plan_bytes=GIB,
    precision=Precision.FP16,
    inputs=(IMAGE,),
    outputs=(IMAGE,),
    max_batch=8,
)
TRT8 = msgspec.structs.replace(TRT10, backend_version="8.6.1.6", stack="trt86-cuda122")
RTX = msgspec.structs.replace(
    TRT10, backend="tensorrt_rtx", backend_version="1.7.1.116", stack="trtrtx17-cuda130"
)
CUDA = msgspec.structs.replace(
    TRT10, backend="onnxruntime", backend_version="1.31.1", stack="ort-cuda130", device="cuda"
)
CPU = msgspec.structs.replace(
    CUDA, backend_version="1.32.0", stack="ort-cpu", device="cpu", precision=Precision.INT8
)


def gpu(name: str, capability: str, memory: int = 24) -> Gpu:
    return Gpu(0, name, ComputeCapability.parse(capability), memory * GIB, memory * GIB)


A10, RTX3090 = gpu("NVIDIA A10", "8.6"), gpu("NVIDIA GeForce RTX 3090", "8.6")
L4, T4, H200 = gpu("NVIDIA L4", "8.9"), gpu("Tesla T4", "7.5", 16), gpu("NVIDIA H200", "9.0", 140)
V100, A100 = gpu("Tesla V100", "7.0", 16), gpu("NVIDIA A100", "8.0", 40)
RTX5090, ORIN = gpu("NVIDIA GeForce RTX 5090", "12.0", 32), gpu("Orin", "8.7", 0)


def plan(base: PlanInfo, **changes: Any) -> PlanInfo:
    return msgspec.structs.replace(base, **changes)


@pytest.mark.parametrize(
    ("built", "on", "driver", "stack", "rules"),
    [
        # The same GPU architecture, the same version, a driver that is new enough.
        (TRT10, A10, "580.65.06", "trt1016-cuda130", []),
        (TRT10, RTX3090, "580.95.05", "trt1016-cuda130", []),
        (TRT8, A10, "525.60.13", "trt86-cuda122", []),
        (RTX, A10, "580.65.06", "trtrtx17-cuda130", []),
        (CUDA, H200, "580.159.04", "ort-cuda130", []),
        (CUDA, T4, "580.65.06", "ort-cuda130", []),
        # Drivers.
        (TRT10, A10, "550.54.14", "trt1016-cuda130", ["driver"]),
        (TRT10, A10, "", "trt1016-cuda130", ["driver"]),
        (TRT8, A10, "470.82.01", "trt86-cuda122", ["driver"]),
        # Another architecture.
        (TRT10, L4, "580.65.06", "trt1016-cuda130", ["architecture"]),
        (RTX, L4, "580.65.06", "trtrtx17-cuda130", ["architecture"]),
        (plan(TRT10, hardware_compatibility="ampere_plus"), L4, "580.65.06", "trt1016-cuda130", []),
        (plan(TRT10, hardware_compatibility="ampere_plus"), RTX5090, "580.65.06",
         "trt1016-cuda130", []),
        (plan(TRT10, hardware_compatibility="ampere_plus"), T4, "580.65.06", "trt1016-cuda130",
         ["architecture"]),
        (plan(TRT10, hardware_compatibility="same_compute_capability"), RTX3090, "580.65.06",
         "trt1016-cuda130", []),
        (plan(TRT10, hardware_compatibility="same_compute_capability"), L4, "580.65.06",
         "trt1016-cuda130", ["architecture"]),
        # GPUs that a stack does not run on.
        (plan(TRT10, device="sm70"), V100, "580.65.06", "trt1016-cuda130", ["compute_capability"]),
        (plan(TRT8, device="sm70"), V100, "525.60.13", "trt86-cuda122", []),
        (plan(TRT8, device="sm120"), RTX5090, "580.65.06", "trt86-cuda122",
         ["compute_capability"]),
        (plan(RTX, device="sm90"), H200, "580.65.06", "trtrtx17-cuda130", ["compute_capability"]),
        # No GPU at all: everything that asks for one is quiet but that one rule.
        (TRT10, None, "", "trt1016-cuda130", ["gpu"]),
        # Another stack, another backend.
        (TRT10, A10, "580.65.06", "trt114-cuda130", ["stack", "backend_version"]),
        (RTX, A10, "580.65.06", "ort-cuda130", ["stack", "backend"]),
        (CUDA, A10, "535.54.03", "trt86-cuda122", ["stack", "backend", "backend_version"]),
        # Plans for newer versions of TensorRT: 8 on 10, 10 on 11, nothing else.
        (plan(TRT10, version_compatible=True), A10, "580.65.06", "trt114-cuda130", []),
        (plan(TRT8, version_compatible=True), A10, "580.65.06", "trt1016-cuda130", []),
        (plan(TRT8, version_compatible=True), A10, "580.65.06", "trt114-cuda130",
         ["backend_version"]),
        (plan(TRT10, version_compatible=True), A10, "580.65.06", "trt86-cuda122",
         ["backend_version"]),
        (plan(TRT10, backend_version="11.4.0.106", version_compatible=True), A10, "580.65.06",
         "trt1016-cuda130", ["backend_version"]),
        (plan(TRT10, backend_version="10.13.3.9", version_compatible=True), A10, "580.65.06",
         "trt1016-cuda130", []),
        (plan(TRT10, backend_version="10.99.0.1", version_compatible=True), A10, "580.65.06",
         "trt1016-cuda130", ["backend_version"]),
        (plan(TRT8, backend_version="8.5.3.1", version_compatible=True), A10, "580.65.06",
         "trt1016-cuda130", ["backend_version"]),
        # TensorRT-RTX and onnxruntime: the very same version.
        (plan(RTX, backend_version="1.6.0.1", version_compatible=True), A10, "580.65.06",
         "trtrtx17-cuda130", ["backend_version"]),
        (plan(CUDA, backend_version="1.30.0"), A10, "580.65.06", "ort-cuda130",
         ["backend_version"]),
        # Arithmetic that a GPU does not have.
        (plan(TRT10, precision=Precision.FP8), A10, "580.65.06", "trt1016-cuda130", ["precision"]),
        (plan(TRT10, precision=Precision.FP8, device="sm89"), L4, "580.65.06", "trt1016-cuda130",
         []),
        (plan(TRT10, precision=Precision.BF16, device="sm75"), T4, "580.65.06", "trt1016-cuda130",
         ["precision"]),
        (plan(TRT10, precision=Precision.MIXED, device="sm75",
              layers=(LayerPrecision("a", "Conv", Precision.BF16),
                      LayerPrecision("b", "Conv", Precision.INT8))),
         T4, "580.65.06", "trt1016-cuda130", ["precision"]),
        # Memory.
        (plan(TRT10, plan_bytes=25 * GIB), A10, "580.65.06", "trt1016-cuda130", ["memory"]),
        # CPU plans ask for no GPU and no driver.
        (CPU, None, "", "ort-cpu", []),
        (CPU, A10, "1.0", "ort-cpu", []),
        (plan(CPU, stack="trt86-cuda122"), None, "", "trt86-cuda122", []),
        (plan(CPU, backend_version="1.20.0"), None, "", "ort-cpu", ["backend_version"]),
    ],
)  # fmt: skip
def test_cases(built: PlanInfo, on: Gpu | None, driver: str, stack: str, rules: list[str]):
    answer = check(built, on, driver, get_stack(stack))
    assert [reason.rule for reason in answer.reasons] == rules
    assert answer.ok == (not rules)
    for reason in answer.reasons:
        assert reason.message
        assert reason.cure


@pytest.mark.parametrize("machine", ["linux/arm64", "windows/amd64"])
def test_plans_never_move_between_platforms(machine: str):
    answer = check(TRT10, A10, "580.65.06", get_stack("trt1016-cuda130"), platform=machine)
    assert {reason.rule for reason in answer.reasons} == {"platform"}
    assert f"build it again on {machine}" in str(answer)


def test_hardware_compatibility_does_not_exist_on_jetpack():
    built = plan(
        TRT10,
        backend_version="10.3.0",
        stack="trt103-jetpack62",
        platform="linux/arm64",
        hardware_compatibility="ampere_plus",
    )
    answer = check(built, ORIN, "540.4.0", get_stack("trt103-jetpack62"))
    assert [reason.rule for reason in answer.reasons] == ["architecture"]
    assert "JetPack" in answer.reasons[0].cure
    native = plan(built, device="sm87", hardware_compatibility="none")
    assert check(native, ORIN, "540.4.0", get_stack("trt103-jetpack62")).ok


def test_the_installed_version_counts_when_it_is_known():
    stack = get_stack("trt1016-cuda130")
    assert check(TRT10, A10, "580.65.06", stack, backend_version="10.16.1.11").ok
    answer = check(TRT10, A10, "580.65.06", stack, backend_version="10.16.1.12")
    assert [reason.rule for reason in answer.reasons] == ["backend_version"]
    assert "10.16.1.12" in str(answer)


def test_what_holds_but_is_worth_knowing():
    built = plan(TRT10, gpu_name="NVIDIA A10")
    answer = check(built, RTX3090, "580.65.06", get_stack("trt1016-cuda130"))
    assert answer.ok
    assert "built on NVIDIA A10" in answer.notes[0]
    older = check(TRT8, A10, "525.60.13", get_stack("trt86-cuda122"))
    assert "minor-version compatibility" in older.notes[0]
    turing = check(plan(RTX, device="sm75"), T4, "580.65.06", get_stack("trtrtx17-cuda130"))
    assert "conformance" in turing.notes[0]
    busy = Gpu(0, "NVIDIA A10", ComputeCapability(8, 6), 24 * GIB, GIB // 2)
    assert "memory free" in check(TRT10, busy, "580.65.06", get_stack("trt1016-cuda130")).notes[0]


def test_a_refused_driver_names_the_ways_out():
    cure = check(TRT10, A10, "550.54.14", get_stack("trt1016-cuda130")).reasons[0].cure
    assert "enginecrate stacks --driver 550.54.14" in cure
    assert "cuda-compat-13-0" in cure


@pytest.mark.parametrize(
    ("capability", "driver", "runs"),
    [
        ("8.9", "580.65.06",
         {"ort-cpu", "ort-cuda130", "trt1016-cuda130", "trt114-cuda130", "trt86-cuda122",
          "trtrtx17-cuda130"}),
        ("8.9", "550.54", {"ort-cpu", "trt86-cuda122"}),
        ("9.0", "580", {"ort-cpu", "ort-cuda130", "trt1016-cuda130", "trt114-cuda130",
                        "trt86-cuda122"}),
        ("7.0", "580.65.06", {"ort-cpu", "trt86-cuda122"}),
        ("7.2", "580.65.06", {"ort-cpu"}),
        ("8.9", "", {"ort-cpu"}),
    ],
)  # fmt: skip
def test_stacks_for_a_machine(capability: str, driver: str, runs: set[str]):
    answers = stacks_for(ComputeCapability.parse(capability), driver, platform="linux/amd64")
    assert {name for name, answer in answers.items() if answer.ok} == runs


def test_what_is_not_asked_is_not_judged():
    assert all(answer.ok for answer in stacks_for(None, None).values())
    assert not check_stack(get_stack("ort-cuda130"), None, None, platform="linux/arm64").ok


@pytest.mark.parametrize(
    ("have", "need", "enough"),
    [
        ("580.65.06", "580.65.06", True),
        ("580.65.6", "580.65.06", True),
        ("580.159.04", "580.65.06", True),
        ("1000.1", "580.65.06", True),
        ("580.65.05", "580.65.06", False),
        ("99.99", "580.65.06", False),
        ("580", "580.65.06", True),
        ("579", "580.65.06", False),
        ("610.43.02-beta", "580.65.06", True),
    ],
)
def test_versions_are_compared_as_numbers(have: str, need: str, enough: bool):
    assert at_least(have, need) is enough


def test_versions_of_different_length():
    assert same_release("10.16.1", "10.16.1.11")
    assert not same_release("10.16.1.11", "10.16.1.12")
    with pytest.raises(ValueError, match="not a version"):
        numbers("unknown")


def test_precisions_begin_with_an_architecture():
    assert runs_precision(Precision.FP32, ComputeCapability(7, 0))
    assert not runs_precision(Precision.BF16, ComputeCapability(7, 5))
    assert runs_precision(Precision.FP8, ComputeCapability(8, 9))
    assert not runs_precision(Precision.FP8, ComputeCapability(8, 7))
