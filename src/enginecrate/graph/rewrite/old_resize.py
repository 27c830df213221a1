"""Resize as it was before opset 11, said in the words of opset 11.

Until then Resize and Upsample knew no `coordinate_transformation_mode`: they were `asymmetric`,
and the nearest pixel was the one below when a side grew, the one above when it shrank (ONNX
operators, Upsample-9, Resize-10 and Resize-11; onnxruntime's upsampling kernel). The default of
opset 11 is `half_pixel`, which onnx.version_converter leaves there.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper, numpy_helper

from enginecrate.graph.onnx.walk import model_nodes, model_tensors
from enginecrate.values import Array

__all__ = ["LAST_WITHOUT_COORDINATES", "unclear_resize", "write_coordinates"]

LAST_WITHOUT_COORDINATES = 10
"""The last opset in which Resize has no coordinate transformation."""


def write_coordinates(old: onnx.ModelProto, converted: onnx.ModelProto) -> None:
    """Give every Resize of a converted graph the coordinates that it had, in place.

    Args:
        old: of opset `LAST_WITHOUT_COORDINATES` or older; `unclear_resize` has found nothing.
        converted: the same graph in a newer opset, subgraphs included.
    """
    scales = _scales_by_output(old)
    for node in model_nodes(converted):
        if node.op_type != "Resize" or node.output[0] not in scales:
            continue
        kept = [one for one in node.attribute if one.name == "mode"]
        written = {"coordinate_transformation_mode": "asymmetric"}
        if not kept or kept[0].s == b"nearest":
            written["nearest_mode"] = _nearest_mode(scales[node.output[0]])
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.extend(helper.make_attribute(*pair) for pair in written.items())


def unclear_resize(old: onnx.ModelProto) -> str:
    """The first Resize that no newer one can do: its output. Empty when there is none."""
    scales = _scales_by_output(old)
    for node in _resizes(old):
        known = scales[node.output[0]]
        if _mode(node) != "nearest":
            continue
        if known is None:
            unclear = node.op_type == "Resize"  # Upsample never shrinks
        else:
            unclear = bool((known > 1).any() and (known < 1).any())
        if unclear:
            return str(node.output[0])
    return ""


def _nearest_mode(scales: Array | None) -> str:
    return "ceil" if scales is not None and (scales < 1).any() else "floor"


def _scales_by_output(old: onnx.ModelProto) -> dict[str, Array | None]:
    """The scales of each Resize and Upsample by its output; `None`: known at run time only."""
    constants = {tensor.name: tensor for tensor in model_tensors(old) if tensor.name}
    for node in model_nodes(old):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                constants[node.output[0]] = attribute.t
    found: dict[str, Array | None] = {}
    for node in _resizes(old):
        listed = next((one.floats for one in node.attribute if one.name == "scales"), None)
        tensor = constants.get(node.input[1]) if len(node.input) > 1 else None
        if listed is not None:  # Upsample-7
            found[node.output[0]] = numpy_helper.to_array(
                helper.make_tensor("", onnx.TensorProto.FLOAT, [len(listed)], listed)
            )
        else:
            found[node.output[0]] = None if tensor is None else numpy_helper.to_array(tensor)
    return found


def _resizes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (
        node
        for node in model_nodes(proto)
        if node.op_type in ("Resize", "Upsample") and node.domain in ("", "ai.onnx")
    )


def _mode(node: onnx.NodeProto) -> str:
    return str(next((one.s.decode() for one in node.attribute if one.name == "mode"), "nearest"))
