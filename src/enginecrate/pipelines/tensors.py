"""The pipeline of an app that has none: tensors in, tensors out.

Reads `.npz` archives that clients send: no pickles, and no more memory than announced.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy

from enginecrate.errors import PipelineError, TensorMismatch, TensorsTooLarge, TensorsUndecodable
from enginecrate.pipelines.base import Limits, Prepared, TensorResult, TensorsResult
from enginecrate.values import Array, DataType, PipelineSpec, Tensors, TensorSpec

__all__ = ["MAX_ENTRIES", "TensorsPipeline", "read_npz", "tensor_result"]

MAX_ENTRIES = 256

_CENTRAL_HEADER = b"PK\x01\x02"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_CURE = "make it with numpy.savez(file, name=array)"


def read_npz(payload: bytes | memoryview, max_bytes: int) -> dict[str, Array]:
    """Read every array of an archive that `numpy.savez` or `savez_compressed` wrote.

    Args:
        payload: the archive.
        max_bytes: of all arrays together, unpacked. Checked in the archive's directory before
            anything is unpacked, and held while unpacking: a directory that lies is an error.

    Raises:
        TensorsTooLarge: over `max_bytes`, or more than `MAX_ENTRIES` arrays.
        TensorsUndecodable: not such an archive, damaged, or an array of Python objects.
    """
    data = bytes(payload)
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        raise TensorsUndecodable(f"the bytes are not an .npz archive; {_CURE}")
    # Python's zipfile makes an object for each entry, so they are counted before it may.
    if data.count(_CENTRAL_HEADER) > MAX_ENTRIES:
        raise TensorsTooLarge(f"the .npz archive has more than {MAX_ENTRIES} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(entries, max_bytes)
            return {_name(entry): _read(archive, entry) for entry in entries}
    except (PipelineError, MemoryError):
        raise
    except Exception as exc:  # damaged archives make zipfile raise nearly anything
        raise TensorsUndecodable(f"the .npz archive is damaged: {exc}; {_CURE}") from exc


def _check(entries: list[zipfile.ZipInfo], max_bytes: int) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise TensorsTooLarge(
            f"the arrays have {total:,} bytes when unpacked; the limit is {max_bytes:,}; "
            "send less, or raise the setting max_body_bytes"
        )
    seen: set[str] = set()
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise TensorsUndecodable(
                f"{entry.filename!r} in the .npz archive is encrypted, or packed by a method "
                f"that NumPy does not use; {_CURE}"
            )
        if entry.filename in seen:
            raise TensorsUndecodable(f"the .npz archive holds {entry.filename!r} twice; {_CURE}")
        seen.add(entry.filename)


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Array:
    # With a number, zipfile unpacks no more than that, and at the announced size it compares the
    # checksum; without one it would unpack everything first.
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise TensorsUndecodable(
            f"{entry.filename!r} in the .npz archive has {len(content)} bytes, and its directory "
            f"says {entry.file_size}; send the complete file, unchanged"
        )
    return _array(content, entry.filename)


def _array(content: bytes, name: str) -> Array:
    """NumPy's NEP 1: a header that says shape, order and dtype, then the numbers."""
    stream = io.BytesIO(content)
    try:
        version = npy.read_magic(stream)
        read_header: Any = {
            (1, 0): npy.read_array_header_1_0,
            (2, 0): npy.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read_header(stream)
    except KeyError as exc:
        raise TensorsUndecodable(f"{name!r}: unknown version of the .npy format; {_CURE}") from exc
    except Exception as exc:  # NumPy evaluates the header's text, which may raise nearly anything
        raise TensorsUndecodable(f"{name!r} is not a NumPy array: {exc}; {_CURE}") from exc
    if dtype.hasobject:
        raise TensorsUndecodable(
            f"{name!r} holds Python objects, which are never loaded; use a dtype of numbers, or "
            "of fixed-length bytes ('S') for texts"
        )
    return _shaped(content, stream.tell(), shape, fortran, dtype, name)


def _shaped(
    content: bytes, start: int, shape: tuple[int, ...], fortran: bool, dtype: Any, name: str
) -> Array:
    # Negative or enormous sizes end here, as no content has that many bytes.
    size_bytes = math.prod(shape) * dtype.itemsize
    if any(size < 0 for size in shape) or size_bytes != len(content) - start:
        raise TensorsUndecodable(
            f"{name!r}: {dtype} of shape {list(shape)} needs {size_bytes} bytes, and "
            f"{len(content) - start} are there; send the complete file, unchanged"
        )
    if size_bytes == 0:
        return np.empty(shape, dtype)
    array: Array = np.frombuffer(content, dtype, offset=start)
    if dtype.kind == "b" and array.view(np.uint8).max() > 1:
        raise TensorsUndecodable(f"{name!r}: an element of bool is neither 0 nor 1; {_CURE}")
    return array.reshape(shape, order="F" if fortran else "C")


class TensorsPipeline:
    """Takes the model's inputs as the bytes of an `.npz` file and answers all of its outputs.

    Immutable, so any number of threads may use it.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        labels: Sequence[str],
        limits: Limits,
    ) -> None:
        """Take note of the model.

        Args:
            spec: the `[pipeline]` section; only its task counts.
            inputs: of the model.
            outputs: of the model.
            labels: not used.
            limits: `max_bytes` counts for the archive, and for its unpacked arrays together.
        """
        self._inputs = {tensor.name: tensor for tensor in inputs}
        self._outputs = tuple(outputs)
        self._limits = limits
        # Only when all agree is the first dimension a batch, of which a sample has one.
        self._batched = all(tensor.shape[:1] == (-1,) for tensor in (*inputs, *outputs))

    @property
    def task(self) -> str:
        return "tensors"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        """Read one array for each model input.

        Raises:
            TensorsUndecodable: the payload is not an `.npz` archive of plain arrays.
            TensorsTooLarge: it is over the limit.
            TensorMismatch: an array is missing, unknown, or of the wrong shape or datatype.
        """
        size = memoryview(payload).nbytes
        if size > self._limits.max_bytes:
            raise TensorsTooLarge(
                f"the .npz archive has {size:,} bytes; the limit is {self._limits.max_bytes:,}"
            )
        arrays = read_npz(payload, self._limits.max_bytes)
        self._check_names(arrays)
        tensors = {name: self._tensor(spec, arrays[name]) for name, spec in self._inputs.items()}
        return Prepared(tensors, None)

    def finish(self, outputs: Tensors, context: Any) -> TensorsResult:
        """Every output of the model, in the model's order."""
        return TensorsResult([tensor_result(spec, outputs[spec.name]) for spec in self._outputs])

    def _check_names(self, arrays: Tensors) -> None:
        missing = [str(spec) for name, spec in self._inputs.items() if name not in arrays]
        unknown = [repr(name) for name in arrays if name not in self._inputs]
        if missing or unknown:
            faults = [f"it lacks {', '.join(missing)}"] if missing else []
            faults += [f"the model has no input {', '.join(unknown)}"] if unknown else []
            raise TensorMismatch(
                f"the .npz archive does not fit the model: {'; '.join(faults)}; "
                "name each array as the model's input that it is for"
            )

    def _tensor(self, spec: TensorSpec, array: Array) -> Array:
        array = _converted(spec, array)
        shape = (1, *spec.shape[1:]) if self._batched else spec.shape
        if array.shape == shape[1:] and shape[:1] == (1,):
            array = array[np.newaxis]
        fits = len(array.shape) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if not fits:
            hint = "; send one sample at a time" if self._batched else ""
            raise TensorMismatch(
                f"{spec.name!r} has shape {list(array.shape)}, and the model's input needs "
                f"{list(shape)} (-1: any size){hint}"
            )
        return np.asarray(array, order="C")


def _converted(spec: TensorSpec, array: Array) -> Array:
    """The array in the input's own dtype, when it holds just that in another notation."""
    dtype = spec.datatype.numpy
    if spec.datatype is DataType.BYTES and array.dtype.kind in "SU":
        flat = [item if isinstance(item, bytes) else item.encode() for item in array.ravel()]
        texts = np.empty(array.size, object)
        texts[:] = flat
        return texts.reshape(array.shape)
    if spec.datatype is DataType.BF16 and array.dtype == np.dtype("V2"):
        return array.view(dtype)  # NumPy's format has no name for bfloat16
    if array.dtype.newbyteorder("=") != dtype:
        raise TensorMismatch(
            f"{spec.name!r} is {array.dtype}, and the model's input is {spec.datatype}; "
            f"convert it: array.astype({dtype.name!r})"
        )
    return array.astype(dtype, copy=False)


def tensor_result(spec: TensorSpec, array: Array) -> TensorResult:
    """An output as the answer shows it."""
    flat = np.asarray(array).reshape(-1)
    data: list[Any]
    if spec.datatype is DataType.BYTES:
        data = [bytes(item).decode("utf-8", "backslashreplace") for item in flat]
    elif spec.datatype is DataType.BF16:
        data = flat.astype(np.float32).tolist()
    else:
        data = flat.tolist()
    return TensorResult(spec.name, spec.datatype.value, list(array.shape), data)
