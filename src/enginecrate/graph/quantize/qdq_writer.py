"""Writes quantise/dequantise pairs into a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from onnx import helper

from enginecrate.graph.onnx.names import tensor_names
from enginecrate.graph.quantize.constants import ConstantWriter
from enginecrate.graph.quantize.placement import Placement, Surroundings
from enginecrate.graph.quantize.placement_cpu import clip_bounds
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.quantize.scales import Scale, asymmetric_scale, symmetric_scale
from enginecrate.graph.rewrite.tidy import remove_unused
from enginecrate.graph.typed import Scheme

__all__ = ["write_pairs"]

_LARGEST = {Scheme.TENSORRT: 127.0, Scheme.FP8: 448.0}
"""The value that the end of a range becomes: int8's, and E4M3's largest one."""


def write_pairs(
    proto: onnx.ModelProto,
    around: Surroundings,
    placement: Placement,
    ranges: Mapping[str, Range],
    scheme: Scheme,
    weights: Path | None = None,
) -> None:
    """Insert the pairs, in place.

    Args:
        proto: in an opset that knows what the scheme needs.
        around: of this very graph, as it is before anything is inserted.
        placement: made for this very graph.
        ranges: of every tensor that the placement needs.
        scheme: what the pairs look like.
        weights: folder of weights that are not in the graph itself.

    Raises:
        CalibrationInvalid: a range holds NaN or infinity.
        ModelInvalid: weights hold NaN or infinity.
    """
    scales = _scales(placement, ranges, scheme)
    _absorb(proto.graph, placement, ranges, around)
    taken = tensor_names(proto) | {node.name for node in proto.graph.node}
    constants = ConstantWriter(proto.graph, scheme, around.constants, taken, str(weights or ""))
    _Writer(proto.graph, placement, scales, constants, around).run()
    remove_unused(proto.graph)


def _scales(placement: Placement, ranges: Mapping[str, Range], scheme: Scheme) -> dict[str, Scale]:
    scales = {}
    for name in placement.needed():
        if scheme is Scheme.CPU:
            scales[name] = asymmetric_scale(name, ranges[name])
        else:
            scales[name] = symmetric_scale(name, ranges[name], _LARGEST[scheme])
    return {name: scales[placement.shared.get(name, name)] for name in placement.pairs}


def _absorb(
    graph: onnx.GraphProto,
    placement: Placement,
    ranges: Mapping[str, Range],
    around: Surroundings,
) -> None:
    """Remove each Relu and Clip that cuts off what the quantisation behind it cuts off, too."""
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name in placement.absorbed and _is_covered(node, ranges, around):
            producer = next(one for one in reversed(kept) if node.input[0] in one.output)
            producer.output[list(producer.output).index(node.input[0])] = node.output[0]
        else:
            kept.append(node)
    _replace(graph, kept)


def _is_covered(node: onnx.NodeProto, ranges: Mapping[str, Range], around: Surroundings) -> bool:
    bounds, kept = clip_bounds(node, around), ranges[node.output[0]]
    if bounds is None:
        return False
    return bounds[0] <= min(kept.low, 0.0) and max(kept.high, 0.0) <= bounds[1]


class _Writer:
    def __init__(
        self,
        graph: onnx.GraphProto,
        placement: Placement,
        scales: Mapping[str, Scale],
        constants: ConstantWriter,
        around: Surroundings,
    ) -> None:
        self._graph = graph
        self._placement = placement
        self._scales = scales
        self._fixed = around.fixed
        self._known = around.constants
        self._constants = constants
        self._dequantized: dict[str, str] = {}

    def run(self) -> None:
        produced = {name for node in self._graph.node for name in node.output}
        nodes: list[onnx.NodeProto] = []
        for name in self._placement.pairs:
            if name not in produced:  # an input of the model
                nodes += self._pair(name, name)
        for node in self._graph.node:
            nodes += self._before(node)
            nodes.append(node)
            for index, name in enumerate(node.output):
                if name in self._placement.pairs:
                    nodes += self._pair(name, self._source(node, index))
        _replace(self._graph, nodes)

    def _before(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Let a node read what is quantised; the nodes that its constants need come first."""
        data = node.input[0] if node.input else ""
        for index, name in enumerate(node.input):
            if name in self._dequantized and self._reads(name, node):
                node.input[index] = self._dequantized[name]
        if node.name in self._placement.layers:
            yield from self._constants.layer(node, self._scales[data].scale)
        elif node.name in self._placement.constants:
            yield from self._constants.activation_constants(node, self._known)

    def _reads(self, name: str, node: onnx.NodeProto) -> bool:
        readers = self._placement.pairs[name]
        return readers is None or node.name in readers

    def _source(self, node: onnx.NodeProto, index: int) -> str:
        """The tensor that a pair reads.

        The name itself stays with the float tensor, unless all see the quantised one and the
        name is known outside.
        """
        name = node.output[index]
        if self._placement.pairs[name] is None and name in self._fixed:
            node.output[index] = self._constants.name(f"{name}/float")
        return str(node.output[index])

    def _pair(self, name: str, source: str) -> Iterator[onnx.NodeProto]:
        parameters = self._constants.parameters(name, self._scales[name])
        data = self._constants.name(f"{name}/quantized")
        output = name if source != name else self._constants.name(f"{name}/dequantized")
        self._dequantized[name] = output
        for operator, read, written in (
            ("QuantizeLinear", source, data),
            ("DequantizeLinear", data, output),
        ):
            node_name = self._constants.name(f"{written}/{operator}")
            yield helper.make_node(operator, [read, *parameters], [written], node_name)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
