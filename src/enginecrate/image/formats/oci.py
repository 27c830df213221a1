"""The OCI image format as types: descriptors, manifests, indexes and configurations.

Source: OCI Image Format Specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md).
"""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import msgspec

from enginecrate.errors import ImageInvalid
from enginecrate.values import Digest

__all__ = [
    "CONFIG",
    "DOCKER_INDEX",
    "DOCKER_MANIFEST",
    "EMPTY",
    "EMPTY_DATA",
    "INDEX",
    "LAYER_GZIP",
    "LAYER_ZSTD",
    "MANIFEST",
    "REF_NAME",
    "ContainerConfig",
    "Descriptor",
    "History",
    "ImageConfig",
    "ImageIndex",
    "ImageManifest",
    "Platform",
    "RootFs",
    "decode",
    "decode_config",
    "digest_of",
    "encode",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_DATA = b"{}"
"""The content of a descriptor of type `EMPTY`: artifacts without a configuration point to it."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation in a layout's `index.json`: the tag of a manifest."""

_T = TypeVar("_T")


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`os/architecture[/variant]`."""

    architecture: str
    os: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pointer to a blob or a manifest: its media type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}
    platform: Platform | None = None


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The manifest of an image or of an artifact (`subject`: the manifest it is attached to)."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = msgspec.field(default_factory=lambda: MANIFEST)
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class ImageIndex(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A list of manifests: the platforms of an image, a layout's content, or referrers."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = msgspec.field(default_factory=lambda: INDEX)
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class ContainerConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True
):
    """The start of a container of the image (config.md, `config`)."""

    user: str = msgspec.field(default="", name="User")
    exposed_ports: dict[str, dict[str, str]] = {}
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, dict[str, str]] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    healthcheck: dict[str, Any] = {}
    """Docker's extension: `Test`, and `Interval`, `Timeout`, `StartPeriod` in nanoseconds."""
    on_build: tuple[str, ...] = ()
    """Docker's extension, as `shell`: instructions for images that are built on this one."""
    shell: tuple[str, ...] = ()


class RootFs(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of the uncompressed layers, lowest first."""

    diff_ids: tuple[str, ...]
    type: str = msgspec.field(default_factory=lambda: "layers")


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The step that made a layer."""

    created: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The configuration of an image for one platform."""

    created: str = ""
    author: str = ""
    architecture: str
    os: str
    variant: str = ""
    config: ContainerConfig = ContainerConfig()
    rootfs: RootFs
    history: tuple[History, ...] = ()


def encode(document: msgspec.Struct) -> bytes:
    """Canonical JSON (sorted keys, no spaces): the same document gives the same bytes."""
    return msgspec.json.encode(document, order="sorted", enc_hook=_plain)


def _plain(value: object) -> str:
    """The text of a `Digest`, which msgspec does not know to be one."""
    if isinstance(value, str):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} cannot stand in JSON")


def decode(data: bytes, kind: type[_T], where: str) -> _T:
    """A document of `kind`. Unknown keys are ignored, as the specification asks.

    Raises:
        ImageInvalid: it is not JSON, or keys are missing or of the wrong type; `where` says which
            document it is.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ImageInvalid(
            f"{where} is not a valid {kind.__name__}: {exc}; build or push the image again"
        ) from exc


def decode_config(data: bytes, where: str) -> ImageConfig:
    """The configuration of an image. Raises `ImageInvalid`, as `decode`.

    Docker writes `null` for what is empty; that is as good as leaving it out.
    """
    # `decode` says what is wrong with it.
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data = msgspec.json.encode(_without_nulls(msgspec.json.decode(data)))
    return decode(data, ImageConfig, where)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def digest_of(descriptor: Descriptor) -> Digest:
    """The digest of a descriptor, checked. Raises `ImageInvalid` when it is not sha256."""
    try:
        return Digest(descriptor.digest)
    except ValueError as exc:
        raise ImageInvalid(
            f"{descriptor.digest!r} is not a sha256 digest; only these are supported"
        ) from exc
