"""The newest ONNX models that the onnxruntime of a stack reads.

Each release of onnxruntime refuses a newer IR version or opset when it opens a model. The limits
were measured: models of each number were opened with onnxruntime 1.31.1 and 1.32.0.
"""

from __future__ import annotations

from enginecrate.stacks.catalog import Stack
from enginecrate.stacks.versions import numbers

__all__ = ["NEWEST_MODELS", "model_refusal"]

NEWEST_MODELS: dict[tuple[int, int], tuple[int, int]] = {(1, 31): (13, 26), (1, 32): (14, 28)}
"""IR version and opset by release of onnxruntime."""


def model_refusal(stack: Stack, ir_version: int, opset: int) -> str:
    """The reason why a stack's onnxruntime cannot open a model, with a cure; empty when it can."""
    version = stack.versions.get("onnxruntime", "")
    major, minor, *_ = (*numbers(version or "0"), 0)
    if (major, minor) not in NEWEST_MODELS:
        return ""
    newest_ir, newest_opset = NEWEST_MODELS[major, minor]
    have, need, cures = [], [], []
    if ir_version > newest_ir:
        have.append(f"IR version {ir_version}")
        need.append(f"IR version {newest_ir}")
        cures.append(f"set the model's ir_version to {newest_ir}, which is often enough")
    if opset > newest_opset:
        have.append(f"opset {opset}")
        need.append(f"opset {newest_opset}")
        cures.append(f"export the model with opset {newest_opset} or older")
    if not have:
        return ""
    return (
        f"the model has ONNX {' and '.join(have)}, and onnxruntime {version} of the stack "
        f"{stack.name} reads up to {' and '.join(need)}; {', and '.join(cures)}, or choose a stack "
        "with a newer onnxruntime (enginecrate stacks)"
    )
