"""Fold constants, and remove what a graph does not need outside of training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
import onnx

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.describe.inspection import count_operators
from enginecrate.graph.isolation.isolated import budget_for, run_isolated
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.onnx.specs import input_specs, output_specs
from enginecrate.graph.rewrite.constant_folding import fold_constants
from enginecrate.graph.rewrite.convolution_folding import fold_batch_normalisation, fold_bias
from enginecrate.graph.rewrite.removal import remove_passing
from enginecrate.graph.rewrite.tidy import free_constants

__all__ = ["Simplified", "rewritten", "simplifier", "simplify"]

_CHECK_ERRORS = (
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    RuntimeError,
    ValueError,
)
"""ONNX's C++ raises the last two for some faults that it does not expect."""
_PASSES = 1
"""Raised when the same model becomes another graph than before."""


@dataclass(frozen=True, slots=True)
class Simplified:
    """A simplified model with its operator counts before and after.

    note: why constants were not folded: the weights are more than protobuf can hold, or the folded
        graph would not have been valid; else empty.
    """

    model: OnnxModel
    before: dict[str, int]
    after: dict[str, int]
    note: str = ""


def simplifier() -> str:
    """The simplifier and its version, for sidecars, cache keys and the report."""
    return f"enginecrate passes {_PASSES}"


def simplify(model: OnnxModel) -> Simplified:
    """Simplify a model. The same model gives the same bytes, on every machine.

    Names, datatypes and dynamic dimensions of inputs and outputs stay as they are. Constants are
    folded; Identity and idle Dropout go; what is added to a convolution, and batch normalisation
    behind it, become its weights; every node has a unique name.

    The work is done in a process with limits.

    Raises:
        ModelTooCostly: it takes too much memory or time.
    """
    before = count_operators(model.proto)
    data = model.proto.SerializeToString()
    result = run_isolated(
        f"{__name__}:rewritten",
        msgspec.msgpack.encode(_Job(data, _on_disk(model))),
        budget_for(len(data), sum(before.values())),
        f"simplifying {model.source}",
    )
    done = msgspec.msgpack.decode(result, type=_Rewritten)
    proto = onnx.ModelProto.FromString(done.proto)
    return Simplified(replace(model, proto=proto), before, count_operators(proto), done.note)


class _Job(msgspec.Struct, frozen=True):
    """note: why constants cannot be folded; else empty."""

    proto: bytes
    note: str


class _Rewritten(msgspec.Struct, frozen=True):
    proto: bytes
    note: str


def rewritten(data: bytes) -> bytes:
    """The work of `simplify`, as the isolated process calls it: a `_Job`, then a `_Rewritten`."""
    job = msgspec.msgpack.decode(data, type=_Job)
    model = onnx.ModelProto.FromString(job.proto)
    note = job.note
    folded = None if note else _folded(model)
    if folded is not None:
        note = _misfit(model, folded)
    proto = _freed(model) if folded is None or note else folded
    remove_passing(proto.graph)
    fold_batch_normalisation(proto.graph)
    name_nodes(proto)
    return msgspec.msgpack.encode(_Rewritten(proto.SerializeToString(), note))


def _freed(model: onnx.ModelProto) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    free_constants(proto)
    return proto


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    proto = _freed(model)
    fold_constants(proto)
    remove_passing(proto.graph)
    fold_bias(proto.graph)
    return proto


def _misfit(model: onnx.ModelProto, folded: onnx.ModelProto) -> str:
    """The reason why a folded graph cannot take the model's place; empty when it can."""
    try:
        onnx.checker.check_model(folded, full_check=_passes_in_full(model))
        specs = input_specs(folded), output_specs(folded)
    except (ModelUnsupported, *_CHECK_ERRORS) as exc:
        return f"folding constants gave an invalid graph, so it was kept as it is: {exc}"
    if specs != (input_specs(model), output_specs(model)):
        return "folding constants changed the model's inputs or outputs; it was not followed"
    return ""


def _passes_in_full(proto: onnx.ModelProto) -> bool:
    """True when the types of all tensors fit, too; some exporters are careless with these."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except _CHECK_ERRORS:
        return False
    return True


def _on_disk(model: OnnxModel) -> str:
    if model.weights is None:
        return ""
    return (
        f"the weights ({model.source_bytes:,} bytes) are more than protobuf can hold, so "
        "constants were not folded"
    )
