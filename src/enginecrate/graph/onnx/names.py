"""A name for every node, so that reports, notes and settings can point to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count

import onnx

from enginecrate.graph.onnx.walk import model_nodes

__all__ = ["fresh_name", "name_nodes", "tensor_names"]


def name_nodes(proto: onnx.ModelProto) -> None:
    """Give every node a unique name, in place; subgraphs and functions included.

    A name that only one node has stays; so does the first of several equal ones. The others,
    and nodes without a name, become `<Operator>_<number>`, counted in the order of the graph:
    the same graph gets the same names.
    """
    nodes = list(model_nodes(proto))
    taken = {node.name for node in nodes if node.name}
    seen: set[str] = set()
    numbers: dict[str, Iterator[int]] = {}
    for node in nodes:
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        number = numbers.setdefault(node.op_type, count())
        node.name = next(
            name for name in (f"{node.op_type}_{one}" for one in number) if name not in taken
        )
        taken.add(node.name)
        seen.add(node.name)


def tensor_names(proto: onnx.ModelProto) -> set[str]:
    """Every tensor name that occurs anywhere in a model."""
    names = {name for node in model_nodes(proto) for name in (*node.input, *node.output)}
    names.update(info.name for info in (*proto.graph.input, *proto.graph.output))
    names.update(tensor.name for tensor in proto.graph.initializer)
    return names


def fresh_name(name: str, taken: Iterable[str]) -> str:
    """`name`, or with the first number behind it that makes it new among `taken`."""
    taken = taken if isinstance(taken, set) else set(taken)
    if name not in taken:
        return name
    numbered = (f"{name}_{number}" for number in count(1))
    return next(candidate for candidate in numbered if candidate not in taken)
