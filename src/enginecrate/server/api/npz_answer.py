"""Tensors as an answer in NumPy's `.npz` format: exact, and a tenth of their JSON."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from numpy.lib import format as npy

from enginecrate.errors import RequestInvalid
from enginecrate.pipelines.base import Result, TensorResult, TensorsResult
from enginecrate.server.http.messages import Request
from enginecrate.values import Array, DataType

__all__ = ["NPZ", "encode_npz", "wants_npz"]

NPZ = "application/x-npz"


def wants_npz(request: Request) -> bool:
    """True when the client's `Accept` names the format."""
    accepted = request.headers.get("accept", "").lower().split(",")
    return any(entry.partition(";")[0].strip() == NPZ for entry in accepted)


def encode_npz(result: Result) -> bytes:
    """The outputs under their names, as `numpy.load` reads them; texts as UTF-8 bytes.

    Raises:
        RequestInvalid: the app answers something else than tensors.
    """
    if not isinstance(result, TensorsResult):
        raise RequestInvalid(
            f"Accept: {NPZ} is for apps that answer tensors (task image or tensors), and this one "
            "answers boxes or classes; accept application/json"
        )
    buffer = io.BytesIO()
    # Not by numpy.savez, whose own parameters leave no room for outputs named "file".
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for output in result.outputs:
            with archive.open(f"{output.name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, _array(output), allow_pickle=False)
    return buffer.getvalue()


def _array(tensor: TensorResult) -> Array:
    datatype = DataType(tensor.datatype)
    if datatype is DataType.BYTES:
        return np.array([str(item).encode() for item in tensor.data], np.bytes_).reshape(
            tensor.shape
        )
    # NumPy's format has no name for bfloat16; its numbers are all in float32.
    dtype = np.dtype(np.float32) if datatype is DataType.BF16 else datatype.numpy
    return np.array(tensor.data, dtype).reshape(tensor.shape)
