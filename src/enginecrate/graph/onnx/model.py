"""An ONNX model that was read and checked."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

from enginecrate.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from enginecrate.graph.onnx.checks import check_graph
from enginecrate.graph.onnx.external import (
    combined_digest,
    content_digest,
    external_files,
    load_external,
)
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.graph.onnx.specs import input_specs, output_specs
from enginecrate.values import Digest, TensorSpec

__all__ = [
    "LARGEST_PROTO",
    "OLDEST_OPSET",
    "ROOM",
    "OnnxModel",
    "graph_digest",
    "read_model",
    "read_versions",
]

OLDEST_OPSET = 7
"""The oldest opset that onnxruntime promises to run (its compatibility page: ONNX 1.2)."""

LARGEST_PROTO = 2**31 - 1
"""A protobuf message cannot be larger (ONNX specification, section "External Tensor Data")."""

ROOM = 64 * 2**20
"""Bytes that the graph may grow by when it is transformed."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A checked ONNX model with the facts that everybody asks for.

    source_digest: of the file that the user gave, and of its external data files if it has any;
        stays when the graph is transformed.
    source_bytes: their sizes together.
    weights: the folder of the external data, when the weights stayed on disk since they are more
        than protobuf can hold; the constants of `proto` then point to files in it. Else `None`,
        and `proto` has all weights.
    """

    proto: onnx.ModelProto = field(repr=False)
    source: Path
    source_digest: Digest
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    source_bytes: int = 0
    weights: Path | None = None


def graph_digest(model: OnnxModel) -> Digest:
    """Digest of the graph as it is now, its weights included, also those that are on disk."""
    if model.weights is not None:
        return content_digest(model.proto, model.weights)
    return Digest.of(model.proto.SerializeToString(deterministic=True))


def read_model(path: Path) -> OnnxModel:
    """Read a model and check it.

    External data are read into it, unless that is more than protobuf can hold.

    Raises:
        ModelNotFound: there is no such file.
        ModelInvalid: not an ONNX file, cut short, a part is missing, or the checker refuses it.
        ModelUnsupported: an ONNX file over `LARGEST_PROTO`, of too old or too new a version, or
            with inputs or outputs that are not tensors, or with very many nodes.
        ModelTooCostly: to check it takes too much memory or time.
    """
    data = _read(path)
    proto = _parse(data, path)
    _check_versions(proto, path)
    external = external_files(proto, path)
    size = len(data) + sum(file.stat().st_size for file in external.values())
    digest = combined_digest(Digest.of(data), external)
    on_disk = bool(external) and size > LARGEST_PROTO - ROOM
    if on_disk and any(file.is_symlink() for file in external.values()):
        raise ModelUnsupported(
            f"{path}: weights of more than {LARGEST_PROTO:,} bytes stay on the disk, where "
            "backends do not follow links; copy the model with its weights: cp -L"
        )
    if not on_disk:
        load_external(proto, path)
    try:
        inputs, outputs = input_specs(proto), output_specs(proto)
    except ModelUnsupported as exc:
        raise ModelUnsupported(f"{path}: {exc}") from exc
    check_graph(proto, path, on_disk=on_disk)
    weights = path.parent if on_disk else None
    return OnnxModel(proto, path, digest, inputs, outputs, size, weights)


def read_versions(path: Path) -> tuple[int, int]:
    """The IR version and the opset of a model file, without its external data.

    Raises:
        ModelNotFound, ModelInvalid, ModelUnsupported: as `read_model`, for the file alone.
    """
    proto = _parse(_read(path), path)
    return proto.ir_version, opset_of(proto)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ModelInvalid(f"{path} is a device or a pipe, not a file; give the ONNX file")
        if status.st_size > LARGEST_PROTO:
            raise ModelUnsupported(
                f"{path} has {status.st_size:,} bytes, and an ONNX file cannot have more than "
                f"{LARGEST_PROTO:,}; export it with external data"
            )
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelNotFound(
            f"there is no model file {path}; correct its path (model.path in enginecrate.toml, or "
            "--model), or copy it there"
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
