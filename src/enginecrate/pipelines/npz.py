"""Reads `.npz` archives that strangers send: no pickles, and no more memory than announced."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy

from enginecrate.errors import PipelineError, TensorsTooLarge, TensorsUndecodable
from enginecrate.values import Array

__all__ = ["MAX_ENTRIES", "read_npz"]

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
    wanted = math.prod(shape) * dtype.itemsize
    if any(size < 0 for size in shape) or wanted != len(content) - start:
        raise TensorsUndecodable(
            f"{name!r}: {dtype} of shape {list(shape)} needs {wanted} bytes, and "
            f"{len(content) - start} are there; send the complete file, unchanged"
        )
    if wanted == 0:
        return np.empty(shape, dtype)
    array: Array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")
