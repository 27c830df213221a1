"""Small images and what is attached to them, for tests of places, copies and signatures."""

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from enginecrate.image.formats.oci import (
    CONFIG,
    EMPTY,
    EMPTY_DATA,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    ContainerConfig,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    Platform,
    RootFs,
    encode,
)
from enginecrate.image.transports.layout import Layout

SBOM_TYPE = "application/vnd.example.sbom+json"
SIGNATURE_TYPE = "application/vnd.example.signature+json"


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress; the same ones each time."""
    return random.Random(seed).randbytes(size)


def tar_layer(files: Mapping[str, bytes], *, mode: int = 0o755) -> tuple[bytes, str]:
    """A compressed layer with these files, and its diff_id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    data = buffer.getvalue()
    return gzip.compress(data, 1, mtime=0), f"sha256:{hashlib.sha256(data).hexdigest()}"


def add_image(
    layout: Layout,
    tags: Sequence[str] = (),
    *,
    files: Mapping[str, bytes] | None = None,
    architecture: str = "amd64",
    command: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
) -> Descriptor:
    """An image of one layer."""
    data, diff_id = tar_layer(files or {"hello": noise(1000)})
    layer = layout.add_blob([data], LAYER_GZIP)
    config = ImageConfig(
        architecture=architecture,
        os="linux",
        config=ContainerConfig(entrypoint=tuple(command)),
        rootfs=RootFs(diff_ids=(diff_id,)),
    )
    manifest = ImageManifest(
        config=layout.add_blob([encode(config)], CONFIG),
        layers=(layer,),
        annotations=dict(annotations or {}),
    )
    return layout.write_manifest(encode(manifest), MANIFEST, tags)


def add_index(
    layout: Layout, tags: Sequence[str], architectures: Sequence[str] = ("amd64", "arm64")
) -> Descriptor:
    """An image for several platforms."""
    manifests = []
    for number, architecture in enumerate(architectures):
        files = {architecture: noise(2000, number)}
        one = add_image(layout, architecture=architecture, files=files)
        manifests.append(Descriptor(
            media_type=one.media_type, digest=one.digest, size=one.size,
            platform=Platform(architecture=architecture, os="linux"),
        ))  # fmt: skip
    return layout.write_manifest(encode(ImageIndex(manifests=tuple(manifests))), INDEX, tags)


def attach(
    layout: Layout,
    subject: Descriptor,
    data: bytes,
    artifact_type: str = SBOM_TYPE,
    tags: Sequence[str] = (),
) -> Descriptor:
    """An artifact whose subject is `subject`."""
    manifest = ImageManifest(
        artifact_type=artifact_type,
        config=layout.add_blob([EMPTY_DATA], EMPTY),
        layers=(layout.add_blob([data], "application/json"),),
        subject=subject,
        annotations={"org.example.note": "kept"},
    )
    return layout.write_manifest(encode(manifest), MANIFEST, tags)


def add_cosign(layout: Layout, subject: Descriptor, data: bytes = b"{}") -> Descriptor:
    """What cosign writes under the tag `sha256-<hex>.sig`."""
    tag = f"{subject.digest.replace(':', '-')}.sig"
    layer = layout.add_blob([data], "application/vnd.dev.cosign.simplesigning.v1+json")
    config = layout.add_blob([data + b" "], CONFIG)
    return layout.write_manifest(
        encode(ImageManifest(config=config, layers=(layer,))), MANIFEST, [tag]
    )


def program_files(program: str = "/bin/echo") -> dict[str, bytes]:
    """A program of this machine with the libraries that it loads: enough for an image that runs."""
    loader = next(Path("/lib64").glob("ld-linux-*"))
    libraries = [*Path("/lib").glob("*-linux-gnu/libc.so.6")]
    paths = [Path(program), loader, *libraries]
    return {str(path).lstrip("/"): path.read_bytes() for path in paths}
