"""All that `enginecrate inspect` tells of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import onnx

from enginecrate.graph.describe.cost import ModelCost, model_cost, weight_bytes
from enginecrate.graph.describe.inspection import ModelFacts, inspect_model
from enginecrate.graph.describe.layers import layers_of
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.walk import model_tensors
from enginecrate.graph.rewrite.simplify import Simplified
from enginecrate.graph.support.support import Obstacle, obstacles
from enginecrate.graph.typed import precision_of
from enginecrate.values import LayerPrecision, Precision

__all__ = ["ModelDescription", "describe"]


class ModelDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One model.

    facts: of the file as it was given. All else is of the simplified graph, which is what
        backends compile, and whose node names settings and reports use.
    external_data: the weights are in files beside the model and stay there.
    simplified: operators after simplification, commonest first; simplifier_note: why it was not
        simplified, or empty.
    weight_bytes: of all constants in memory; weights: how many numbers there are by datatype.
    precision, layers: of the nodes that multiply, with their multiply-adds for one sample.
    quantize_nodes, dequantize_nodes: Q/DQ pairs that the model brings along.
    costs: by batch.
    """

    facts: ModelFacts
    external_data: bool
    simplified: dict[str, int]
    simplifier_note: str
    weight_bytes: int
    weights: dict[str, int]
    precision: Precision
    layers: tuple[LayerPrecision, ...]
    quantize_nodes: int
    dequantize_nodes: int
    costs: tuple[ModelCost, ...]
    obstacles: tuple[Obstacle, ...]


def describe(
    model: OnnxModel, simplified: Simplified, batches: Iterable[int] = (1, 8, 32)
) -> ModelDescription:
    """Describe a model as it was given, and as it is after simplification.

    batches: sizes that take the place of a dynamic first dimension; they change nothing in a model
        whose shapes are fixed.
    """
    graph = simplified.model
    layers = layers_of(graph)
    return ModelDescription(
        facts=inspect_model(model),
        external_data=model.weights is not None,
        simplified=simplified.after,
        simplifier_note=simplified.note,
        weight_bytes=weight_bytes(graph.proto),
        weights=_weights(graph.proto),
        precision=precision_of(layers),
        layers=layers,
        quantize_nodes=simplified.after.get("QuantizeLinear", 0),
        dequantize_nodes=simplified.after.get("DequantizeLinear", 0),
        costs=model_cost(graph, batches),
        obstacles=obstacles(graph),
    )


def _weights(proto: onnx.ModelProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tensor in model_tensors(proto):
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        counts[kind] = counts.get(kind, 0) + math.prod(tensor.dims)
    return dict(sorted(counts.items()))
