"""The tiny models that every backend must compute correctly, and their graphs in each precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from enginecrate.engines.base import RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.specs import output_specs
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.typed import QUANTISED, Scheme, TypedGraph
from enginecrate.values import Array, Precision, Profile, Tensors

__all__ = ["CASES", "Case", "reference_outputs", "typed_graph"]

_ALL = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8, Precision.FP8)


_SEED = 7


@dataclass(frozen=True, slots=True)
class Case:
    """A model with the inputs to run, and what it shows.

    make: the ONNX model.
    inputs: of each run, in turn.
    profiles: optimization profiles, for backends that need them.
    precisions: in which it is run; not all models have layers that lower precisions change.
    optional: a backend may refuse it, and then says so.
    """

    name: str
    shows: str
    make: Callable[[], onnx.ModelProto]
    inputs: tuple[Tensors, ...]
    profiles: tuple[Profile, ...] = ()
    precisions: tuple[Precision, ...] = _ALL
    optional: bool = False


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)


def _weights(name: str, *shape: int) -> onnx.TensorProto:
    """The same each time: uniform in -1 to 1, over the square root of the inputs of one output."""
    seed = sum(name.encode()) + len(shape)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
    values = np.random.default_rng(seed).uniform(-1, 1, shape) / np.sqrt(fan_in)
    return numpy_helper.from_array(values.astype(np.float32), name)


def _value(
    name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "conformance", inputs, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _convolution() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"], "residual"),
        helper.make_node("Conv", ["s", "w3"], ["y"], "pointwise"),
    ]
    constants = [
        _weights("w1", 8, 3, 3, 3),
        _weights("b1", 8),
        _weights("w2", 8, 1, 3, 3),
        _weights("w3", 4, 8, 1, 1),
    ]
    shape = [1, 3, 16, 16]
    return _model(nodes, [_value("x", shape)], [_value("y", [1, 4, 16, 16])], constants)


def _gemm() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "hidden"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "w2"], ["y"], "scores"),
    ]
    constants = [_weights("w1", 16, 32), _weights("b1", 32), _weights("w2", 32, 8)]
    return _model(nodes, [_value("x", ["batch", 16])], [_value("y", ["batch", 8])], constants)


def _two_inputs() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["a", "w"], ["aw"], "product"),
        helper.make_node("Add", ["aw", "b"], ["sum"], "sum"),
        helper.make_node("Mul", ["sum", "b"], ["scaled"], "scale"),
        helper.make_node("Sigmoid", ["scaled"], ["p"], "sigmoid"),
    ]
    return _model(
        nodes,
        [_value("a", ["batch", 8]), _value("b", ["batch", 4])],
        [_value("sum", ["batch", 4]), _value("p", ["batch", 4])],
        [_weights("w", 8, 4)],
    )


def _any_size() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["y"], "flatten"),
    ]
    shape: list[int | str] = ["batch", 3, "height", "width"]
    constants = [_weights("w", 6, 3, 3, 3)]
    return _model(nodes, [_value("x", shape)], [_value("y", ["batch", 6])], constants)


def _non_zero() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("NonZero", ["r"], ["y"], "positions"),
    ]
    return _model(nodes, [_value("x", [4, 6])], [_value("y", [2, "found"], TensorProto.INT64)])


def _floats(*shape: int) -> Array:
    return _rng().standard_normal(shape).astype(np.float32)


def _batches(sizes: Sequence[int], **rows: int) -> tuple[Tensors, ...]:
    return tuple({name: _floats(size, width) for name, width in rows.items()} for size in sizes)


def _sized(*shapes: tuple[int, ...]) -> tuple[Tensors, ...]:
    return tuple({"x": _floats(*shape)} for shape in shapes)


CASES: tuple[Case, ...] = (
    Case(
        "convolution",
        "static shapes; plain, depthwise and pointwise convolutions, a residual",
        _convolution,
        _sized((1, 3, 16, 16)),
    ),
    Case(
        "gemm",
        "a dynamic batch, and matrix products",
        _gemm,
        _batches((1, 5, 8, 32), x=16),
        ({"x": ((1, 16), (8, 16), (32, 16))},),
    ),
    Case(
        "several_profiles",
        "two optimization profiles, and switching between them",
        _gemm,
        _batches((1, 16, 2, 32, 1), x=16),
        ({"x": ((1, 16), (1, 16), (4, 16))}, {"x": ((8, 16), (16, 16), (32, 16))}),
        (Precision.FP32,),
    ),
    Case(
        "two_inputs",
        "two inputs and two outputs",
        _two_inputs,
        _batches((1, 4, 7), a=8, b=4),
        ({"a": ((1, 8), (4, 8), (8, 8)), "b": ((1, 4), (4, 4), (8, 4))},),
        (Precision.FP32, Precision.FP16, Precision.INT8),
    ),
    Case(
        "any_size",
        "height and width that are dynamic, too",
        _any_size,
        _sized((1, 3, 16, 16), (2, 3, 24, 12), (4, 3, 32, 32)),
        ({"x": ((1, 3, 8, 8), (2, 3, 16, 16), (4, 3, 32, 32))},),
        (Precision.FP32, Precision.FP16),
    ),
    Case(
        "data_dependent",
        "an output whose shape depends on values (NonZero)",
        _non_zero,
        ({"x": _floats(4, 6)}, {"x": -np.abs(_floats(4, 6))}, {"x": np.abs(_floats(4, 6))}),
        precisions=(Precision.FP32,),
        optional=True,
    ),
)
"""In the order in which they are run."""


def typed_graph(
    model: OnnxModel, precision: Precision, scheme: Scheme, inputs: Sequence[Tensors]
) -> TypedGraph:
    """The model in a precision; ranges come from the very inputs that will be run."""
    if precision is Precision.FP32:
        return TypedGraph(model, Precision.FP32, ())
    if precision not in QUANTISED:
        return cast(model, precision)
    names = quantizable(model, scheme)
    return quantize(model, _ranges(model, names, inputs), scheme)


def reference_outputs(
    model: OnnxModel, typed: OnnxModel, precision: Precision, inputs: Sequence[Tensors]
) -> Iterator[Tensors]:
    """The outputs that the backend must compute: those of onnxruntime on the CPU.

    Its optimisations are off. For INT8 and FP8 it runs the graph with its Q/DQ pairs, computed in
    float: the loss by quantisation itself is the accuracy gate's business. For the others it runs
    the model in FP32.
    """
    graph = typed if precision in QUANTISED else model
    with closing(OnnxRuntimeBackend().load_model(graph, RunOptions(threads=1))) as engine:
        for tensors in inputs:
            yield engine.run(tensors)


def _ranges(model: OnnxModel, names: Sequence[str], inputs: Sequence[Tensors]) -> dict[str, Range]:
    arrays: dict[str, list[Array]] = {name: [] for name in names}
    given = {spec.name for spec in model.inputs}
    opened = _with_outputs(model, [name for name in names if name not in given])
    with closing(OnnxRuntimeBackend().load_model(opened, RunOptions(threads=1))) as engine:
        for tensors in inputs:
            values = {**tensors, **engine.run(tensors)}
            for name in names:
                arrays[name].append(np.asarray(values[name]))
    return {
        name: Range(min(float(a.min()) for a in seen), max(float(a.max()) for a in seen))
        for name, seen in arrays.items()
    }


def _with_outputs(model: OnnxModel, names: Sequence[str]) -> OnnxModel:
    proto = onnx.shape_inference.infer_shapes(model.proto)
    infos = {info.name: info for info in proto.graph.value_info}
    present = {info.name for info in proto.graph.output}
    proto.graph.output.extend(infos[name] for name in names if name not in present)
    return replace(model, proto=proto, outputs=output_specs(proto))
