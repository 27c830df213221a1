"""Small OCI images for tests, made entry by entry in plain sight."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from enginecrate.image.formats.oci import (
    CONFIG,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    ImageManifest,
    decode,
    digest_of,
    encode,
)
from enginecrate.image.transports.layout import Layout
from enginecrate.values import Digest

LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
TYPES = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "tar": LAYER_TAR}


@dataclass(frozen=True)
class Item:
    """An entry of a layer. `target`: of a link; `pax`: extended headers."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    type: bytes = tarfile.REGTYPE
    target: str = ""
    pax: dict[str, str] = field(default_factory=dict)


def folder(path: str, mode: int = 0o755, **facts: Any) -> Item:
    return Item(path, mode=mode, type=tarfile.DIRTYPE, **facts)


def symlink(path: str, target: str) -> Item:
    return Item(path, mode=0o777, type=tarfile.SYMTYPE, target=target)


def hardlink(path: str, target: str) -> Item:
    return Item(path, type=tarfile.LNKTYPE, target=target)


def program(path: str, **facts: Any) -> Item:
    return Item(path, b"\x7fELF\0program", **{"mode": 0o755, **facts})


def tar_of(items: Iterable[Item]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            info = tarfile.TarInfo(item.path)
            info.size, info.mode, info.type = len(item.content), item.mode, item.type
            info.uid, info.gid, info.linkname = item.uid, item.gid, item.target
            info.pax_headers = item.pax
            tar.addfile(info, io.BytesIO(item.content))
    return buffer.getvalue()


def compress(data: bytes, how: str = "tar") -> bytes:
    if how == "gzip":
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if how == "zstd" else data


def add_image(
    layout: Layout,
    layers: Sequence[bytes | Iterable[Item]],
    *,
    tag: str = "latest",
    compression: str = "gzip",
    config: dict[str, Any] | None = None,
    **facts: Any,
) -> Descriptor:
    """Store an image.

    Args:
        layers: blobs as they are, or entries.
        config: the container's configuration (`User`, `Env` ...).
        facts: `history` and `annotations`, `media_types` of the layers.
    """
    tars = [one if isinstance(one, bytes) else tar_of(one) for one in layers]
    blobs = [
        tar if isinstance(one, bytes) else compress(tar, compression)
        for one, tar in zip(layers, tars, strict=True)
    ]
    types = facts.get("media_types") or [TYPES[compression]] * len(blobs)
    descriptors = [layout.add_blob(iter((b,)), t) for b, t in zip(blobs, types, strict=True)]
    document = {
        "architecture": facts.get("architecture", "amd64"),
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(tar) for tar in tars]},
        "history": facts.get("history", []),
    }
    data = json.dumps(document).encode()
    manifest = ImageManifest(
        config=layout.add_blob(iter((data,)), CONFIG),
        layers=tuple(descriptors),
        annotations=facts.get("annotations", {}),
    )
    return layout.write_manifest(encode(manifest), MANIFEST, [tag] if tag else [])


def open_image(transport: Layout, tag: str = "latest") -> ImageManifest:
    return decode(transport.read_manifest(digest_of(transport.resolve(tag))), ImageManifest, tag)


def make_image(folder_path: Path, *layers: Any, **facts: Any) -> tuple[Layout, ImageManifest]:
    layout = Layout(folder_path, create=True)
    add_image(layout, layers, **facts)
    return layout, open_image(layout, facts.get("tag", "latest"))
