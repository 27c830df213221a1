"""Debian packages and wheels for tests, written byte by byte: they can be malicious, too."""

import base64
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import zstandard

from enginecrate.image.formats.oci import digest_of
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Contents, Layer, LayerRecipe
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.packages.wheels import WheelContents
from enginecrate.image.layers.writer import write_layer
from enginecrate.image.transports.layout import Layout
from enginecrate.stacks.lock import LockedDeb, LockedWheel

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def member(path: str, content: bytes = b"", **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of data.tar; `facts` are fields of `TarInfo`."""
    info = tarfile.TarInfo(path)
    info.size = len(content)
    for name, value in facts.items():
        setattr(info, name, value)
    return info, content


def pack_tar(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pack_ar(members: Iterable[tuple[str, bytes]]) -> bytes:
    whole = b"!<arch>\n"
    for name, data in members:
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        whole += data + b"\n" * (len(data) % 2)
    return whole


def write_deb(
    folder: Path,
    *members: tuple[tarfile.TarInfo, bytes],
    name: str = "demo",
    control: str = "",
    md5sums: str = "",
    packing: str = ".xz",
) -> DebContents:
    text = control or f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nDescription: demo\n"
    controls = [member("./control", text.encode()), member("./md5sums", md5sums.encode())]
    data = pack_ar([
        ("debian-binary", b"2.0\n"),
        (f"control.tar{packing}", PACKERS[packing](pack_tar(controls))),
        (f"data.tar{packing}", PACKERS[packing](pack_tar(members))),
    ])  # fmt: skip
    return open_deb(folder / f"{name}_1.0_amd64.deb", data, name)


def open_deb(path: Path, data: bytes, name: str = "demo", version: str = "1.0") -> DebContents:
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return DebContents(path, LockedDeb(name=name, version=version, architecture="amd64",
                                       file=path.name, sha256=sha256, size=len(data)))  # fmt: skip


def write_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    name: str = "demo",
    record: Mapping[str, bytes] | None = None,
    infos: Iterable[tuple[zipfile.ZipInfo, bytes]] = (),
) -> WheelContents:
    """`record`: what RECORD claims that files hold, where it lies; `infos`: further members."""
    info = f"{name}-1.0.dist-info"
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    claimed = {**everything, **(record or {})}
    rows = [f"{path},{_sha(data)},{len(data)}" for path, data in claimed.items()]
    everything[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, data in everything.items():
            archive.writestr(zipfile.ZipInfo(inside, (2020, 1, 1, 0, 0, 0)), data,
                             zipfile.ZIP_DEFLATED)  # fmt: skip
        for one, data in infos:
            archive.writestr(one, data)
    return open_wheel(path, name)


def open_wheel(path: Path, name: str = "demo", version: str = "1.0") -> WheelContents:
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return WheelContents(path, LockedWheel(name=name, version=version, file=path.name,
                                           sha256=sha256, size=len(data)))  # fmt: skip


def _sha(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def write(layout: Layout, *contents: Contents, how: str = "zstd", **more: Any) -> Layer:
    compression = Compression.here("gzip" if how == "gzip" else "zstd", 3)
    return write_layer(LayerRecipe("layer", contents), layout, compression, **more)


def open_layer(layout: Layout, layer: Layer) -> tarfile.TarFile:
    """The layer as any other program would read it."""
    data = layout.blob_path(digest_of(layer.descriptor)).read_bytes()
    if layer.descriptor.media_type.endswith("gzip"):
        plain = gzip.decompress(data)
    else:
        plain = zstandard.ZstdDecompressor().decompress(data)
    assert len(plain) == layer.size
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    return tarfile.open(fileobj=io.BytesIO(plain))


def paths(contents: Contents) -> set[str]:
    return {entry.path for entry in contents.entries()}


def read(contents: Contents, path: str) -> bytes:
    return next(entry.read() for entry in contents.entries() if entry.path == path)
