"""A graph whose precision is part of it: types, casts and Q/DQ pairs are in the ONNX itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from enginecrate.values import LayerPrecision, Precision

if TYPE_CHECKING:
    from enginecrate.graph.onnx.model import OnnxModel

__all__ = ["QUANTISED", "Scheme", "TypedGraph", "precision_of", "share_of"]


QUANTISED = frozenset({Precision.INT8, Precision.FP8})
"""Precisions that are made by Q/DQ pairs, with scales from calibration; the others are casts."""


class Scheme(StrEnum):
    """The form of Q/DQ pairs, which depends on who compiles the graph.

    CPU: activations uint8, asymmetric; weights int8, symmetric, per channel, 7 bits
        (`reduce_range`), since processors without VNNI saturate when they add pairs of products.
    TENSORRT: activations and weights int8, symmetric (zero point 0), weights per channel
        (TensorRT documentation, "Working with Quantized Types", "Explicit Quantization").
    FP8: as TENSORRT, in E4M3.
    """

    CPU = "cpu"
    TENSORRT = "tensorrt"
    FP8 = "fp8"


@dataclass(frozen=True, slots=True)
class TypedGraph:
    """A graph with its arithmetic.

    precision: of all layers that multiply, or `mixed` when they differ.
    layers: every node that multiplies, in the graph's order.
    notes: what was kept in a higher precision and why, one sentence each.
    """

    model: OnnxModel
    precision: Precision
    layers: tuple[LayerPrecision, ...]
    notes: tuple[str, ...] = ()


def precision_of(layers: Sequence[LayerPrecision]) -> Precision:
    """The one precision of all layers, or `mixed`; `fp32` when there are none."""
    precisions = {layer.precision for layer in layers}
    if not precisions:
        return Precision.FP32
    return precisions.pop() if len(precisions) == 1 else Precision.MIXED


def share_of(precision: Precision, layers: Sequence[LayerPrecision]) -> float:
    """Share of the multiply-adds that run in this precision, 0..1."""
    total = sum(layer.macs for layer in layers)
    return sum(one.macs for one in layers if one.precision is precision) / total if total else 0.0
