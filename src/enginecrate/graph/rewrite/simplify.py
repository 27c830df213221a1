"""Fold constants, and remove what a graph does not need outside of training."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.describe.inspection import count_operators
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.onnx.specs import input_specs, output_specs
from enginecrate.graph.rewrite.constant_folding import fold_batch_normalisation
from enginecrate.graph.rewrite.removal import remove_passing
from enginecrate.graph.rewrite.tidy import free_constants

__all__ = ["Simplified", "simplifier", "simplify"]

_CHECK_ERRORS = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError)


@dataclass(frozen=True, slots=True)
class Simplified:
    """A simplified model with its operator counts before and after.

    note: why onnxslim was not followed, when it failed, would have changed the model's inputs or
        outputs, or could not hold the weights; else empty.
    """

    model: OnnxModel
    before: dict[str, int]
    after: dict[str, int]
    note: str = ""


def simplifier() -> str:
    """The simplifier and its version, for example `onnxslim 0.1.98`."""
    return f"onnxslim {importlib.metadata.version('onnxslim')}"


def simplify(model: OnnxModel) -> Simplified:
    """Simplify a model. The same model gives the same bytes, in any process on one machine.

    Names, datatypes and dynamic dimensions of inputs and outputs stay as they are. A graph that
    the simplifier cannot handle is not an error: it is kept, and `note` says why. In any case
    Identity and idle Dropout go, batch normalisation is folded into convolutions, and every node
    has a unique name.
    """
    before = count_operators(model.proto)
    slimmed, note = _slimmed(_freed(model))
    tidied = _tidied(slimmed)
    return Simplified(tidied, before, count_operators(tidied.proto), note)


def _slimmed(model: OnnxModel) -> tuple[OnnxModel, str]:
    """The model as onnxslim leaves it, or as it was, with the reason."""
    if model.weights is not None:
        return model, (
            f"the weights ({model.source_bytes:,} bytes) are more than protobuf can hold, so "
            "constants were not folded"
        )
    proto, note = _slim(model.proto)
    if proto is None:
        return model, note
    slimmed = _adopt(model, proto)
    if slimmed is None:
        return model, "the simplifier changed the model's inputs or outputs; it was not followed"
    return slimmed, ""


def _freed(model: OnnxModel) -> OnnxModel:
    """What onnxslim does not do, or does wrongly: it makes doubles of `value_floats`."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    free_constants(proto)
    return replace(model, proto=proto)


def _tidied(model: OnnxModel) -> OnnxModel:
    """What onnxslim leaves undone in some graphs, and a name for every node."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    free_constants(proto)
    remove_passing(proto.graph)
    fold_batch_normalisation(proto.graph)
    name_nodes(proto)
    return replace(model, proto=proto)


def _slim(proto: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str]:
    command = [sys.executable, "-P", "-m", "enginecrate.graph.rewrite.slim_worker"]
    done = subprocess.run(  # noqa: S603 (our own interpreter and module)
        command,
        input=proto.SerializeToString(deterministic=True),
        capture_output=True,
        env=_environment(),
        check=False,
    )
    if done.returncode == 0:
        try:
            slimmed = onnx.ModelProto.FromString(done.stdout)
            onnx.checker.check_model(slimmed, full_check=_passes_in_full(proto))
        except (DecodeError, *_CHECK_ERRORS) as exc:
            return None, f"the simplifier gave an invalid graph, so it was kept as it is: {exc}"
        return slimmed, ""
    said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
    status = f"exit status {done.returncode}"
    return None, f"the simplifier failed ({status}), so the graph was kept as it is: {said[-1]}"


def _passes_in_full(proto: onnx.ModelProto) -> bool:
    """Whether the types of all tensors fit, too; some exporters are careless with these."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except _CHECK_ERRORS:
        return False
    return True


def _environment() -> dict[str, str]:
    """The caller's environment without what would change the result."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONNXSLIM_")}
    return kept | {
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",
        # The child finds the same packages as we do, whatever put them on the path.
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }


def _adopt(model: OnnxModel, proto: onnx.ModelProto) -> OnnxModel | None:
    """The new graph as an `OnnxModel`, or `None` when its inputs or outputs are not the same."""
    try:
        inputs, outputs = input_specs(proto), output_specs(proto)
    except ModelUnsupported:
        return None
    if (inputs, outputs) != (model.inputs, model.outputs):
        return None
    return replace(model, proto=proto)
