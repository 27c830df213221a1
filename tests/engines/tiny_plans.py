"""Plans of any bytes for tests of the plan store."""

from __future__ import annotations

import msgspec

from enginecrate.engines.base import BuiltPlan
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.values import DataType, Digest, PlanInfo, Precision, TensorSpec

X = TensorSpec("x", DataType.FP32, (-1, 3))
DATA = b"plan" * 1000


def built(data: bytes = DATA, **changes: object) -> BuiltPlan:
    info = PlanInfo(
        backend="onnxruntime",
        backend_version="1.32.0",
        tool_version="0.1.0",
        stack="ort-cpu",
        platform="linux/amd64",
        device="cpu",
        model_digest=str(Digest.of(b"model")),
        graph_digest=str(Digest.of(data)),
        plan_digest=str(Digest.of(data)),
        plan_bytes=len(data),
        precision=Precision.FP32,
        inputs=(X,),
        outputs=(X,),
        max_batch=8,
        profiles=[{"x": ((1, 3), (4, 3), (8, 3))}],
        options={"graph_optimization": "all", "simplifier": "enginecrate passes 1"},
    )
    return BuiltPlan(data, msgspec.structs.replace(info, **changes))


def key_of(plan: BuiltPlan) -> str:
    return PlanStore.key(PlanRequest.of(plan.info))
