"""From a conformance model to its typed graph in a precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import onnx

from enginecrate.engines.base import RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.graph.cast import cast
from enginecrate.graph.model import OnnxModel
from enginecrate.graph.quantize import quantizable, quantize
from enginecrate.graph.ranges import Range
from enginecrate.graph.specs import output_specs
from enginecrate.graph.typed import Scheme, TypedGraph
from enginecrate.values import Array, Precision, Tensors

__all__ = ["reference_outputs", "typed_graph"]

_QUANTISED = (Precision.INT8, Precision.FP8)


def typed_graph(
    model: OnnxModel, precision: Precision, scheme: Scheme, inputs: Sequence[Tensors]
) -> TypedGraph:
    """The model in a precision; ranges come from the very inputs that will be run."""
    if precision is Precision.FP32:
        return TypedGraph(model, Precision.FP32, ())
    if precision not in _QUANTISED:
        return cast(model, precision)
    wanted = quantizable(model, scheme)
    return quantize(model, _ranges(model, wanted, inputs), scheme)


def reference_outputs(
    model: OnnxModel, typed: OnnxModel, precision: Precision, inputs: Sequence[Tensors]
) -> Iterator[Tensors]:
    """What the backend must compute: onnxruntime on the CPU with optimisations off.

    For INT8 and FP8 it is the graph with its Q/DQ pairs, computed in float: what quantisation
    itself costs is the accuracy gate's business. For the others it is the model in FP32.
    """
    graph = typed if precision in _QUANTISED else model
    with closing(OnnxRuntimeBackend().load_model(graph, RunOptions(threads=1))) as engine:
        for tensors in inputs:
            yield engine.run(tensors)


def _ranges(model: OnnxModel, names: Sequence[str], inputs: Sequence[Tensors]) -> dict[str, Range]:
    found: dict[str, list[Array]] = {name: [] for name in names}
    given = {spec.name for spec in model.inputs}
    opened = _with_outputs(model, [name for name in names if name not in given])
    with closing(OnnxRuntimeBackend().load_model(opened, RunOptions(threads=1))) as engine:
        for tensors in inputs:
            values = {**tensors, **engine.run(tensors)}
            for name in names:
                found[name].append(np.asarray(values[name]))
    return {
        name: Range(min(float(a.min()) for a in seen), max(float(a.max()) for a in seen))
        for name, seen in found.items()
    }


def _with_outputs(model: OnnxModel, names: Sequence[str]) -> OnnxModel:
    proto = onnx.shape_inference.infer_shapes(model.proto)
    infos = {info.name: info for info in proto.graph.value_info}
    present = {info.name for info in proto.graph.output}
    proto.graph.output.extend(infos[name] for name in names if name not in present)
    return replace(model, proto=proto, outputs=output_specs(proto))
