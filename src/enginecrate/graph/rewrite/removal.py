"""Take out nodes that pass their input on unchanged: Identity, and Dropout outside of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped,unused-ignore]
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
    names: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if not _passes(node, constants, read):
            kept.append(node)
            continue
        source, target = _final(names, node.input[0]), _final(names, node.output[0])
        if captured & {source, target}:
            kept.append(node)
        elif target not in fixed:
            names[target] = source
        elif source not in fixed and source not in given:
            names[source] = target
        else:
            kept.append(node)
    _rename(graph, kept, names)
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


def _final(names: Mapping[str, str], name: str) -> str:
    while name in names:
        name = names[name]
    return name


def _rename(
    graph: onnx.GraphProto, kept: Sequence[onnx.NodeProto], names: Mapping[str, str]
) -> None:
    """Keep these nodes, and let everybody who reads or writes an old name use the new one."""
    if not names:
        return
    for node in kept:
        for listed in (node.input, node.output):
            for index, name in enumerate(listed):
                if name in names:
                    listed[index] = _final(names, name)
    infos = [info for info in graph.value_info if info.name not in names]
    _replace(graph.value_info, infos)
    _replace(graph.node, kept)


def _replace(field: Any, messages: Sequence[Message]) -> None:
    if len(field) != len(messages):
        copies = list(messages)
        del field[:]
        field.extend(copies)
