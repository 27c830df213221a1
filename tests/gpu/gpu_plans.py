"""Models and their plans for the tests on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from enginecrate.builder.project.project import Project
from enginecrate.engines.base import BuildOptions, Plan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.values import Precision

LoadEngine = Callable[..., CudaEngine]
"""Builds a plan of a model and loads it on the GPU: the fixture `load`."""


@dataclass
class Case:
    """A simplified model. `project` is `None` for the ResNet-50."""

    name: str
    model: OnnxModel
    project: Project | None


def plan_of(model: OnnxModel, precision: Precision, store: PlanStore) -> Plan:
    """Of a model in FP32 or FP16, for any GPU."""
    typed = None if precision is Precision.FP32 else cast(model, precision)
    options = BuildOptions(
        stack="ort-cuda130",
        device="cuda",
        precision=typed.precision if typed else precision,
        layers=typed.layers if typed else (),
    )
    built = OnnxRuntimeBackend().build(typed.model if typed else model, options)
    return store.put(PlanStore.key(PlanRequest.of(built.info)), built)
