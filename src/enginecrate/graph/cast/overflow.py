"""The nodes that would leave FP16's range, told from the ranges that calibration saw."""

from __future__ import annotations

import math
from collections.abc import Mapping

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.ranges import Range

__all__ = ["FP16_LARGEST", "overflowing"]

FP16_LARGEST = 65504.0
"""The largest finite value of IEEE 754 binary16."""

_FP16_SMALLEST = 2.0**-14
"""The smallest value that has all its digits (IEEE 754 binary16, normal numbers)."""


def overflowing(
    model: OnnxModel, ranges: Mapping[str, Range], *, margin: float = 4.0
) -> dict[str, str]:
    """The nodes to keep in FP32, by name in the graph's order, each with the reason.

    These are the nodes that write a tensor whose values come near FP16's largest, or lie all
    below its smallest, and those that read one: a cast before them would lose the same.

    Args:
        model: with named nodes.
        ranges: of tensors; those that are missing are taken as harmless.
        margin: how many times larger than seen a value may become: photos that were not
            calibrated with have larger ones.
    """
    reasons: dict[str, str] = {}
    outside = {name: text for name, one in ranges.items() if (text := _outside(one, margin))}
    for node in model.proto.graph.node:
        for name in node.output:
            if name in outside:
                reasons.setdefault(node.name, f"its output {name!r} {outside[name]}")
        for name in node.input:
            if name in outside:
                reasons.setdefault(node.name, f"its input {name!r} {outside[name]}")
    return reasons


def _outside(seen: Range, margin: float) -> str:
    peak = max(abs(seen.low), abs(seen.high))
    if math.isnan(seen.low) or math.isnan(seen.high) or not peak * margin <= FP16_LARGEST:
        return f"reaches {peak:,.6g}, too near to FP16's largest value {FP16_LARGEST:,.0f}"
    if 0 < peak < _FP16_SMALLEST:
        return f"never passes {peak:.3g}, where FP16 keeps too few digits"
    return ""
