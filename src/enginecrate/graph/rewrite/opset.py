"""A newer opset for a graph that needs it."""

from __future__ import annotations

from dataclasses import replace

import onnx

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.onnx.walk import model_nodes
from enginecrate.graph.onnx.weights import without_weights
from enginecrate.graph.rewrite.old_resize import (
    LAST_WITHOUT_COORDINATES,
    unclear_resize,
    write_coordinates,
)
from enginecrate.graph.rewrite.tidy import free_constants

__all__ = ["at_least_opset"]

_CHANGED = {"Scan": 9, "Hardmax": 13}
"""Operators that change their meaning with this opset, which onnx.version_converter passes over."""


def at_least_opset(model: OnnxModel, version: int) -> OnnxModel:
    """The same model in this opset, or as it is when its opset is as new.

    Opset 19 is the first with FP8 in QuantizeLinear; 21 the first with blocked scales; 22 the
    first in which convolutions take BF16.

    Raises:
        ModelUnsupported: onnx.version_converter cannot convert an operator of it.
    """
    old = opset_of(model.proto)
    if old >= version:
        return model
    for node in model_nodes(model.proto):
        since = _CHANGED.get(node.op_type, 0)
        if old < since <= version:
            raise ModelUnsupported(
                f"{model.source}: {node.op_type} {node.name!r} means something else from opset "
                f"{since} on, so that opset {old} cannot be raised to {version}, which this "
                f"precision needs; export it with opset {version}"
            )
    without_coordinates = old <= LAST_WITHOUT_COORDINATES < version
    unclear = unclear_resize(model.proto) if without_coordinates else ""
    if unclear:
        raise ModelUnsupported(
            f"{model.source}: the Resize that writes {unclear!r} takes the nearest pixel in a way "
            f"that opset {version}, which this precision needs, cannot say (some sides grow and "
            f"some shrink, or that is known at run time only); export it with opset {version}"
        )
    light = without_weights(model.proto)
    try:
        converted = onnx.version_converter.convert_version(light, version)
    except (RuntimeError, onnx.version_converter.ConvertError) as exc:
        raise ModelUnsupported(
            f"{model.source}: the graph cannot be converted from opset {old} to {version}, which "
            f"this precision needs: {' '.join(str(exc).split())}; export it with opset {version}"
        ) from exc
    if without_coordinates:
        write_coordinates(model.proto, converted)
    return replace(model, proto=_with_weights(model.proto, converted, version))


def _with_weights(
    old: onnx.ModelProto, converted: onnx.ModelProto, version: int
) -> onnx.ModelProto:
    """The converted nodes among the old graph's own inputs, outputs and constants."""
    proto = onnx.ModelProto()
    proto.CopyFrom(old)
    known = {tensor.name for tensor in proto.graph.initializer}
    del proto.graph.node[:]
    proto.graph.node.extend(converted.graph.node)
    proto.graph.initializer.extend(
        tensor for tensor in converted.graph.initializer if tensor.name not in known
    )
    others = [one for one in proto.opset_import if one.domain not in ("", "ai.onnx")]
    del proto.opset_import[:]
    proto.opset_import.extend([onnx.helper.make_opsetid("", version), *others])
    least = onnx.helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
    proto.ir_version = max(proto.ir_version, least)
    free_constants(proto)
    name_nodes(proto)
    return proto
