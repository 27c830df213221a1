"""An ONNX model that was read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from onnx.external_data_helper import (
    ExternalDataInfo,
    load_external_data_for_model,
    uses_external_data,
)

from enginecrate.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from enginecrate.graph.specs import input_specs, output_specs
from enginecrate.graph.walk import model_tensors
from enginecrate.values import Digest, TensorSpec

__all__ = ["OLDEST_OPSET", "OnnxModel", "graph_digest", "read_model"]

OLDEST_OPSET = 7
"""The oldest opset that onnxruntime promises to run (its compatibility page: ONNX 1.2)."""

_LARGEST = 2**31 - 1
"""A protobuf message cannot be larger (ONNX specification, section "External Tensor Data")."""

_CHECKER_CONTEXT = "\n\n==> Context: "


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A checked ONNX model with the facts that everybody asks for.

    source_digest: of the file that the user gave, and of its external data files if it has any;
        stays when the graph is transformed.
    source_bytes: their sizes together.
    """

    proto: onnx.ModelProto = field(repr=False)
    source: Path
    source_digest: Digest
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    source_bytes: int = 0


def graph_digest(model: OnnxModel) -> Digest:
    """Of the graph as it is now, its weights included."""
    return Digest.of(model.proto.SerializeToString(deterministic=True))


def read_model(path: Path) -> OnnxModel:
    """Read a model with its external data, and check it.

    Raises:
        ModelNotFound: there is no such file.
        ModelInvalid: not an ONNX file, cut short, a part is missing, or the checker refuses it.
        ModelUnsupported: too large, of too old or too new a version, or with inputs or outputs
            that are not tensors.
    """
    data = _read(path)
    proto = _parse(data, path)
    _check_versions(proto, path)
    external = _external_files(proto, path)
    size = len(data) + sum(file.stat().st_size for file in external.values())
    if size > _LARGEST:
        raise ModelUnsupported(
            f"{path}: the model and its external data have {size:,} bytes; "
            f"this version handles up to {_LARGEST:,}"
        )
    digest = _digest(Digest.of(data), external)
    _load_external(proto, path)
    try:
        inputs, outputs = input_specs(proto), output_specs(proto)
    except ModelUnsupported as exc:
        raise ModelUnsupported(f"{path}: {exc}") from exc
    _check(proto, path)
    return OnnxModel(proto, path, digest, inputs, outputs, size)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ModelUnsupported(
                f"{path} has {size:,} bytes, and an ONNX file cannot have more than {_LARGEST:,}; "
                "export it with external data"
            )
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelNotFound(
            f"there is no model file {path}; correct model.path in the manifest, or copy it there"
        ) from exc
    except OSError as exc:
        raise ModelNotFound(f"cannot read the model file {path}: {exc.strerror}") from exc


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    if not data:
        raise ModelInvalid(f"{path} is empty; export or copy the model again")
    if data.startswith(b"version https://git-lfs"):
        raise ModelInvalid(f"{path} is a Git LFS pointer, not the model; run: git lfs pull")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as exc:
        # Every exporter writes the field `ir_version` (number 1, a varint) first.
        if data[0] == 0x08:
            raise ModelInvalid(
                f"{path} begins like an ONNX file, but is damaged or cut short after "
                f"{len(data):,} bytes; copy or export it again"
            ) from exc
        raise ModelInvalid(
            f"{path} is not an ONNX file (it begins with {data[:8]!r}); export the model to ONNX"
        ) from exc
    if not proto.HasField("graph"):
        raise ModelInvalid(f"{path} holds no graph; it is not an ONNX model, or is cut short")
    return proto


def _check_versions(proto: onnx.ModelProto, path: Path) -> None:
    if proto.ir_version > onnx.IR_VERSION:
        raise ModelUnsupported(
            f"{path} has ONNX IR version {proto.ir_version}; this version reads up to "
            f"{onnx.IR_VERSION}; export it for an older version, or upgrade the package onnx"
        )
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            continue
        if opset.version < OLDEST_OPSET:
            raise ModelUnsupported(
                f"{path} has opset {opset.version}; the oldest that runs is {OLDEST_OPSET}; export "
                "it again with a newer opset, or convert it with onnx.version_converter"
            )
        if opset.version > newest:
            raise ModelUnsupported(
                f"{path} has opset {opset.version}; the newest that is known is {newest}; "
                "export it with an older opset, or upgrade the package onnx"
            )


def _external_files(proto: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """The external data files by their location as the model names it."""
    found: dict[str, Path] = {}
    for tensor in model_tensors(proto):
        if not uses_external_data(tensor):
            continue
        location = ExternalDataInfo(tensor).location
        file = path.parent / location
        if not file.is_file():
            raise ModelInvalid(
                f"{path}: the weights of tensor {tensor.name!r} are in {location!r}, which is not "
                "beside the model; copy it there under this very name"
            )
        found[location] = file
    return found


def _digest(model: Digest, external: dict[str, Path]) -> Digest:
    """The file's own digest, or one over all files: weights may live outside of the ONNX file."""
    if not external:
        return model
    parts = {name: str(Digest.of_file(file)) for name, file in external.items()}
    listing = {"external": parts, "model": str(model)}
    return Digest.of(msgspec.json.encode(listing, order="sorted"))


def _load_external(proto: onnx.ModelProto, path: Path) -> None:
    try:
        # It refuses links and locations outside of the model's own folder.
        load_external_data_for_model(proto, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as exc:
        raise ModelInvalid(f"{path}: the external data cannot be read: {exc}") from exc


def _check(proto: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as exc:
        message = str(exc).replace(_CHECKER_CONTEXT, " ")
        raise ModelInvalid(
            f"{path}: the ONNX checker refuses the model: {' '.join(message.split())}; "
            "export it again"
        ) from exc
