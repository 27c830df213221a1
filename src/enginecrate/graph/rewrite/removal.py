"""Take out nodes that pass their input on unchanged: Identity, and Dropout outside of training."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import numpy_helper

from enginecrate.graph.rewrite.tidy import captured_names, remove_unused

__all__ = ["remove_passing"]


def remove_passing(graph: onnx.GraphProto) -> None:
    """Remove them in place. The graph computes the same; its inputs and outputs keep their names.

    Dropout goes when it does nothing: no `training_mode` input, or one that is constant and false
    (ONNX operators, Dropout), and its mask is not read. A node between an input and an output
    of the model stays, for an input cannot have an output's name.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    fixed = {info.name for info in graph.output}
    given = {info.name for info in graph.input} | set(constants)
    captured = captured_names(graph)
    read = {name for node in graph.node for name in node.input} | fixed | captured
    for node in graph.node:
        if not _passes(node, constants, read):
            continue
        source, target = node.input[0], node.output[0]
        if captured & {source, target}:
            continue
        if target not in fixed:
            _rename(graph, target, source, skip=node)
            node.output[0] = f"{target} (unused)"
        elif source not in fixed and source not in given:
            _rename(graph, source, target, skip=node)
            node.input[0] = target
            node.output[0] = f"{source} (unused)"
    remove_unused(graph)


def _passes(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], read: set[str]
) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type != "Dropout" or any(name in read for name in node.output[1:]):
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    training = constants.get(node.input[2])
    return training is not None and not numpy_helper.to_array(training).any()


def _rename(graph: onnx.GraphProto, old: str, new: str, *, skip: onnx.NodeProto) -> None:
    """Let everybody who reads or writes `old` read or write `new`."""
    for node in graph.node:
        if node is skip:
            continue
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name == old:
            del graph.value_info[index]
