"""Weights that lie in files beside the model (ONNX, docs/ExternalData.md)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx
from onnx.external_data_helper import uses_external_data

from enginecrate.errors import ModelInvalid
from enginecrate.graph.onnx.shapes import bits_of
from enginecrate.graph.onnx.walk import model_tensors
from enginecrate.values import Digest

__all__ = ["combined_digest", "content_digest", "external_files", "load_external", "tensor_pieces"]

_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class _Slice:
    location: str
    offset: int
    length: int | None


def _external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The constants whose numbers are in another file."""
    return (tensor for tensor in model_tensors(proto) if uses_external_data(tensor))


def external_files(proto: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """The external data files by their location as the model names it; each tensor is in one.

    Raises:
        ModelInvalid: a file is missing, outside of the model's folder (and of the folder of the
            file that the model links to), or too short for a tensor.
    """
    files: dict[str, Path] = {}
    for tensor in _external_tensors(proto):
        part = _slice(tensor, path)
        if part.location not in files:
            files[part.location] = _file(tensor.name, part.location, path)
        _check_size(tensor, part, files[part.location], path)
    return files


def load_external(proto: onnx.ModelProto, path: Path) -> None:
    """Read the weights into the model. `external_files` has checked where they are.

    Raises:
        ModelInvalid: a file cannot be read.
    """
    for tensor in list(_external_tensors(proto)):
        try:
            data = b"".join(tensor_pieces(tensor, path.parent))
        except OSError as exc:
            raise ModelInvalid(
                f"{path}: the external data of {tensor.name!r} cannot be read: {exc.strerror}"
            ) from exc
        tensor.raw_data = data
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def combined_digest(model: Digest, files: dict[str, Path]) -> Digest:
    """The file's own digest, or one over all files: weights may live outside of the ONNX file."""
    if not files:
        return model
    parts = {name: str(Digest.of_file(file)) for name, file in files.items()}
    listing = {"external": parts, "model": str(model)}
    return Digest.of(msgspec.json.encode(listing, order="sorted"))


def content_digest(proto: onnx.ModelProto, folder: Path) -> Digest:
    """Digest of a graph with external weights: the graph, then the weights, read in pieces.

    In which file the weights are, and where in it, plays no part.
    """
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    digest = hashlib.sha256()
    for tensor in list(_external_tensors(light)):
        del tensor.external_data[:]
        tensor.ClearField("data_location")
    digest.update(light.SerializeToString(deterministic=True))
    for tensor in _external_tensors(proto):
        for piece in tensor_pieces(tensor, folder):
            digest.update(piece)
    return Digest("sha256:" + digest.hexdigest())


def tensor_pieces(tensor: onnx.TensorProto, folder: Path) -> Iterator[bytes]:
    """The bytes of one external tensor, a few MiB at a time."""
    part = _slice(tensor, folder)
    left = _bytes_of(tensor)
    with (folder / part.location).open("rb") as file:
        file.seek(part.offset)
        while left > 0:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise ModelInvalid(
                    f"{folder / part.location} became shorter while it was read: the weights of "
                    f"{tensor.name!r} are cut off; copy the file again"
                )
            left -= len(piece)
            yield piece


def _file(tensor: str, location: str, path: Path) -> Path:
    file = path.parent / location
    # In caches of downloads, model and weights are links to files that lie in one folder.
    folders = path.parent.resolve(), path.resolve().parent
    inside = any(file.resolve().is_relative_to(folder) for folder in folders)
    if Path(location).is_absolute() or ".." in Path(location).parts or not inside:
        where = (
            f"{location!r}, which is a link out of the model's folder; copy what it links to: cp -L"
            if file.is_symlink()
            else f"{location!r}, outside of the model's folder; copy the file beside the model and "
            "export it again"
        )
        raise ModelInvalid(
            f"{path}: the external data cannot be read: tensor {tensor!r} points to {where}"
        )
    if not file.is_file():
        raise ModelInvalid(
            f"{path}: the weights of tensor {tensor!r} are in {location!r}, which is not "
            "beside the model; copy it there under this very name"
        )
    return file


def _slice(tensor: onnx.TensorProto, path: Path) -> _Slice:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else None
        if offset < 0 or not entries["location"]:
            raise ValueError(f"location {entries['location']!r}, offset {offset}")
    except (KeyError, ValueError) as exc:
        raise ModelInvalid(
            f"{path}: tensor {tensor.name!r} does not say properly where its weights are ({exc}); "
            "export the model again"
        ) from exc
    return _Slice(entries["location"], offset, length)


def _check_size(tensor: onnx.TensorProto, part: _Slice, file: Path, path: Path) -> None:
    need = _bytes_of(tensor)
    if part.length is not None and part.length != need:
        raise ModelInvalid(
            f"{path}: tensor {tensor.name!r} of shape {list(tensor.dims)} needs {need:,} bytes, "
            f"but {part.length:,} are stored for it in {part.location!r}; export the model again"
        )
    end, size = part.offset + need, file.stat().st_size
    if end > size:
        raise ModelInvalid(
            f"{path}: the external data cannot be read: tensor {tensor.name!r} ends at byte "
            f"{end:,} of {part.location!r}, which has {size:,} bytes: it is cut short; "
            "copy it again"
        )


def _bytes_of(tensor: onnx.TensorProto) -> int:
    return int(math.prod(tensor.dims) * bits_of(tensor.data_type) + 7) // 8
