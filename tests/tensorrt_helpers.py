"""Shared by the tests of TensorRT."""

from pathlib import Path

import onnx

from enginecrate.cuda.device import Gpu
from enginecrate.engines.base import NO_AIDS, BuildAids, BuildOptions, BuiltPlan, Plan
from enginecrate.engines.tensorrt.backend import TensorRtBackend
from enginecrate.errors import BackendUnavailable
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.values import ComputeCapability, Profile, Progress, no_progress
from tiny_models import save

BATCHES: tuple[Profile, ...] = ({"x": ((1, 3), (8, 3), (32, 3))},)


def no_gpus() -> tuple[Gpu, ...]:
    raise BackendUnavailable("there is no NVIDIA driver here; install one")


def one_gpu(major: int, minor: int) -> tuple[Gpu, ...]:
    return (Gpu(0, "Some GPU", ComputeCapability(major, minor), 10**10),)


RTX = TensorRtBackend("tensorrt_rtx", no_gpus)
"""As on a machine without a GPU, wherever the tests run."""


def opened(proto: onnx.ModelProto, folder: Path) -> OnnxModel:
    return read_model(save(proto, folder / "m.onnx"))


def options(
    device: str = "sm86", profiles: tuple[Profile, ...] = BATCHES, **changes: object
) -> BuildOptions:
    return BuildOptions(stack="trtrtx17-cuda130", device=device, profiles=profiles, **changes)  # type: ignore[arg-type]


def built(
    proto: onnx.ModelProto,
    folder: Path,
    wanted: BuildOptions | None = None,
    progress: Progress = no_progress,
    aids: BuildAids = NO_AIDS,
) -> BuiltPlan:
    return RTX.build(opened(proto, folder), wanted or options(), progress, aids)


def planned(result: BuiltPlan, folder: Path) -> Plan:
    path = folder / "plan.engine"
    path.write_bytes(result.data)
    return Plan(path, result.info)
