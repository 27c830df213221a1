"""Static quantisation: quantise/dequantise pairs with scales from calibration.

The result is explicit: whoever compiles or executes the graph needs no table and no flag, and
executed in float it shows what the quantisation costs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import onnx

from enginecrate.errors import CalibrationInvalid
from enginecrate.graph.describe.layers import layers_of
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.placement import Placement, Surroundings
from enginecrate.graph.quantize.placement_cpu import place_for_cpu
from enginecrate.graph.quantize.placement_tensorrt import place_for_tensorrt
from enginecrate.graph.quantize.qdq_writer import write_pairs
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.rewrite.opset import at_least_opset
from enginecrate.graph.typed import Scheme, TypedGraph, precision_of

__all__ = ["quantizable", "quantize"]

_OPSETS = {Scheme.CPU: 13, Scheme.TENSORRT: 13, Scheme.FP8: 19}
"""The first opset with a scale for each channel, and the first one with FP8 (ONNX changelog,
QuantizeLinear)."""


def quantizable(
    model: OnnxModel, *schemes: Scheme, exclude: Collection[str] = ()
) -> tuple[str, ...]:
    """The activations whose ranges `quantize` needs, in the graph's order.

    Args:
        model: simplified, with named nodes.
        schemes: who compiles the graph. With several, the answer is what any of them needs.
        exclude: names of nodes that stay in float; excluding some may make others needless.
    """
    around = Surroundings(model.proto, exclude)
    needed = (name for scheme in schemes for name in _placement(around, scheme).needed())
    return tuple(dict.fromkeys(needed))


def quantize(
    model: OnnxModel,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    *,
    exclude: Collection[str] = (),
) -> TypedGraph:
    """Insert the pairs. Inputs and outputs of the model stay as they are, in FP32.

    Args:
        model: simplified, with named nodes.
        ranges: of the tensors that `quantizable` names; others are not looked at.
        scheme: who compiles the graph.
        exclude: names of nodes that stay in float.

    Raises:
        CalibrationInvalid: a range is missing, or holds NaN or infinity.
        ModelInvalid: weights hold NaN or infinity.
        ModelUnsupported: the model cannot be brought to the opset that the scheme needs.
    """
    model = at_least_opset(model, _OPSETS[scheme])
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    around = Surroundings(proto, exclude)
    placement = _placement(around, scheme)
    _check(placement, ranges, model)
    write_pairs(proto, around, placement, ranges, scheme, model.weights)
    typed = replace(model, proto=proto)
    layers = layers_of(typed)
    return TypedGraph(typed, precision_of(layers), layers)


def _placement(around: Surroundings, scheme: Scheme) -> Placement:
    if scheme is Scheme.CPU:
        return place_for_cpu(around)
    return place_for_tensorrt(around, fp8=scheme is Scheme.FP8)


def _check(placement: Placement, ranges: Mapping[str, Range], model: OnnxModel) -> None:
    missing = [name for name in placement.needed() if name not in ranges]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:3])
        raise CalibrationInvalid(
            f"the calibration lacks {len(missing)} tensors of {model.source.name} ({shown}"
            f"{', ...' if len(missing) > 3 else ''}); it was made for another model or graph: "
            "calibrate again"
        )
