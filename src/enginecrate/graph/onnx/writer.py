"""Write a model of any size: the graph, and its weights in one file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import onnx
from onnx.external_data_helper import uses_external_data

from enginecrate.graph.onnx.external import tensor_pieces
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.walk import model_tensors

__all__ = ["write_model"]

_GRAPH = "graph.onnx"
_WEIGHTS = "graph.weights"

_LEAST = 1024
"""Smaller constants stay in the graph: shape inference reads some of them."""

_ALIGNED = 4096
"""Offsets are multiples of a page, so that a runtime can map the file (docs/ExternalData.md)."""


def write_model(model: OnnxModel, folder: Path) -> Path:
    """Write `graph.onnx` and `graph.weights` into an existing folder, and return the former.

    Weights are copied in pieces. The same model gives the same two files. `read_model` on the
    result gives the same graph, and its `graph_digest` is that of `model` when its weights are
    on disk. Not atomic: give a folder that is not read yet.

    Raises:
        ModelInvalid: a weight file changed since the model was read.
        OSError: the folder cannot be written.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    path = folder / _GRAPH
    with (folder / _WEIGHTS).open("wb") as file:
        for tensor in model_tensors(proto):
            if uses_external_data(tensor) or len(tensor.raw_data) >= _LEAST:
                _move(tensor, model.weights or folder, file)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def _move(tensor: onnx.TensorProto, folder: Path, file: BinaryIO) -> None:
    """Put a tensor's numbers at the end of the file, and let the tensor point there."""
    file.write(bytes(-file.tell() % _ALIGNED))
    offset = file.tell()
    pieces = tensor_pieces(tensor, folder) if uses_external_data(tensor) else (tensor.raw_data,)
    for piece in pieces:
        file.write(piece)
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": _WEIGHTS, "offset": str(offset), "length": str(file.tell() - offset)}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
