"""Runs a model and shows its activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.shapes import tensor_types
from enginecrate.graph.onnx.weights import without_weights
from enginecrate.values import Array, DataType, Tensors, TensorSpec

__all__ = ["Observer", "activation_bytes", "activations", "in_groups"]


class Observer:
    """An engine for the FP32 graph that gives some of its activations. Thread-safe.

    One thread for each run, and every optimisation off: then a run gives the same bits on
    whatever number of cores, and every activation is there to be seen.
    """

    def __init__(self, model: OnnxModel, names: Sequence[str]) -> None:
        """Load the model. Raises `PlanBuildFailed`: onnxruntime refuses it."""
        self._inputs = {spec.name for spec in model.inputs}
        self._names = names
        self._engine: Engine | None = None
        if not self._inputs.issuperset(names):
            exposed = _exposing(model, names)
            self._engine = OnnxRuntimeBackend().load_model(exposed, RunOptions(threads=1))

    def run(self, inputs: Tensors) -> list[Array]:
        """The activations for one sample, in the order of the names. Raises `EngineError`."""
        outputs = self._engine.run(inputs) if self._engine else {}
        return [inputs[name] if name in self._inputs else outputs[name] for name in self._names]

    def close(self) -> None:
        """Free the engine."""
        if self._engine:
            self._engine.close()


def activations(model: OnnxModel) -> tuple[str, ...]:
    """Every FP32 tensor of the main graph that is no constant: inputs first, in its order."""
    types = tensor_types(model.proto, None)
    produced = [name for node in model.proto.graph.node for name in node.output]
    names = (*(spec.name for spec in model.inputs), *produced)
    return tuple(name for name in names if name in types and types[name].kind == TensorProto.FLOAT)


def activation_bytes(model: OnnxModel, inputs: Tensors) -> Mapping[str, int]:
    """The sizes of tensors for inputs of these shapes, as far as shape inference finds them."""
    light = without_weights(model.proto)
    for info in light.graph.input:
        if info.name in inputs:
            for dim, size in zip(
                info.type.tensor_type.shape.dim, inputs[info.name].shape, strict=True
            ):
                dim.dim_value = size
    return {name: known.bytes or 0 for name, known in tensor_types(light, None).items()}


def in_groups(
    names: Sequence[str], sizes: Mapping[str, int], most: int
) -> Iterator[tuple[str, ...]]:
    """Split names so that the tensors of each group together have at most this many bytes.

    A tensor that is larger alone makes up a group.
    """
    group: list[str] = []
    filled = 0
    for name in names:
        size = sizes.get(name, 0)
        if group and filled + size > most:
            yield tuple(group)
            group, filled = [], 0
        group.append(name)
        filled += size
    if group:
        yield tuple(group)


def _exposing(model: OnnxModel, names: Sequence[str]) -> OnnxModel:
    """The same graph with these tensors as outputs, and no others."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model.proto)
    exposed_names = [name for name in names if name not in {spec.name for spec in model.inputs}]
    del exposed.graph.output[:]
    exposed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in exposed_names
    )
    outputs = tuple(TensorSpec(name, DataType.FP32, ()) for name in exposed_names)
    return replace(model, proto=exposed, outputs=outputs)
