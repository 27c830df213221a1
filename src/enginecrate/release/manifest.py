"""The release manifest: one app version, frozen. It lists every image and what is attached to it.

It is an OCI artifact under the tag `v1.2.0-release`, signed like an image. Its one layer is
canonical JSON, so the same release has the same digest. Signatures are not listed, since they come
after; everything else is, so whatever is missing or swapped is noticed.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec

from enginecrate.errors import ImageNotFound, ReleaseInvalid
from enginecrate.image.formats.oci import Descriptor, encode
from enginecrate.image.recipe.tags import release_tag
from enginecrate.image.transports.base import ImageSource, ImageTarget
from enginecrate.manifest.golden_samples import GOLDEN_NAME
from enginecrate.release.documents.artifacts import attach, read_artifact
from enginecrate.values import Digest

__all__ = [
    "FORMAT",
    "RELEASE",
    "ListedAttachment",
    "ListedFile",
    "ListedImage",
    "ListedPlan",
    "ListedPlatform",
    "ReleaseManifest",
    "SignatureFormat",
    "decode_release",
    "read_release",
    "write_release",
]

RELEASE = "application/vnd.enginecrate.release.v1+json"
"""Artifact type and media type."""
FORMAT = 2

_Meta = msgspec.Meta
_Sha256 = Annotated[str, _Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
SignatureFormat = Literal["cosign", "bundle"]


class ListedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of the app by its path in the project."""

    path: str
    digest: _Sha256


class ListedPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan in an image: a server loads no other one from there.

    device: `cpu`, or a compute capability such as `sm86`. digest: of the plan's bytes.
    sidecar: digest of its `plan.json`, which says what else it consists of.
    """

    key: str
    backend: str
    device: str
    precision: str
    digest: _Sha256
    sidecar: _Sha256


class ListedPlatform(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image for one platform. digest: of its manifest; layers: of the compressed blobs."""

    platform: str
    digest: _Sha256
    config: _Sha256
    layers: tuple[_Sha256, ...]
    plans: tuple[ListedPlan, ...] = ()


class ListedAttachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A document that is attached to an image.

    subject: what it is attached to. manifest: the artifact's digest; content: of the document.
    predicate_type: of an in-toto statement, which must be signed itself; else empty.
    """

    kind: str
    artifact_type: str
    media_type: str
    predicate_type: str = ""
    subject: _Sha256
    manifest: _Sha256
    content: _Sha256
    size: Annotated[int, _Meta(ge=0)]


class ListedImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image. digest: of its index, or of its manifest when it has one platform and no index.

    tag: names it for ever. aliases: its other tags that begin with a version, when it was released.
    """

    tag: str
    aliases: tuple[str, ...] = ()
    digest: _Sha256
    stack: str
    platforms: Annotated[tuple[ListedPlatform, ...], _Meta(min_length=1)]
    attachments: tuple[ListedAttachment, ...] = ()

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of the image and of its platforms: any of them names it."""
        return tuple(dict.fromkeys((self.digest, *(one.digest for one in self.platforms))))

    @property
    def tags(self) -> tuple[str, ...]:
        """All its tags, its own first."""
        return (self.tag, *self.aliases)


class ReleaseManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of it.

    created: from the images' annotation, not from a clock. tool: what made it. manifest, lock:
    digests of `enginecrate.toml` and `enginecrate.lock`. golden: `golden.json` and the inputs that
    it names; empty: the app has no golden samples.
    signatures: the formats in which images and this manifest are signed.
    """

    format: int = FORMAT
    app: str
    version: str
    created: str
    tool: str
    manifest: _Sha256
    lock: _Sha256 | Literal[""] = ""
    golden: tuple[ListedFile, ...] = ()
    images: Annotated[tuple[ListedImage, ...], _Meta(min_length=1)]
    signatures: Annotated[tuple[SignatureFormat, ...], _Meta(min_length=1)] = ("cosign", "bundle")

    @property
    def tag(self) -> str:
        """Its tag beside its images. Raises `ReferenceInvalid`."""
        return release_tag(self.version)

    @property
    def is_unproven(self) -> bool:
        """True when the app has no golden samples, so its answers were never compared."""
        # Earlier versions listed any file of the folder.
        return not any(PurePosixPath(one.path).name == GOLDEN_NAME for one in self.golden)

    def image(self, digest: str) -> ListedImage | None:
        """The image that a digest names: its own, or that of one of its platforms."""
        return next((one for one in self.images if digest in one.digests), None)

    def tagged(self, tag: str) -> ListedImage | None:
        """The image that a tag or an alias stands for."""
        return next((one for one in self.images if tag in one.tags), None)


def decode_release(data: bytes, where: str) -> ReleaseManifest:
    """Raises `ReleaseInvalid`: it does not follow the format, or is not in canonical form."""
    try:
        release = msgspec.json.decode(data, type=ReleaseManifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not a release manifest: {exc}") from exc
    if release.format != FORMAT:
        raise ReleaseInvalid(
            f"{where} has format {release.format}, and this version reads {FORMAT}; use the "
            f"version of enginecrate that made it: {release.tool}"
        )
    if encode(release) != data:
        raise ReleaseInvalid(f"{where} is not in canonical form; make the release again")
    return release


def read_release(transport: ImageSource, name: str) -> tuple[Descriptor, ReleaseManifest]:
    """The release manifest that a tag or digest names.

    Raises:
        ImageNotFound: there is none.
        ReleaseInvalid: it is another artifact, or malformed.
        BlobCorrupt: it is damaged.
    """
    descriptor = transport.resolve(name)
    where = f"{name} in {transport.name}"
    manifest, data = read_artifact(transport, descriptor)
    if manifest.artifact_type != RELEASE:
        raise ReleaseInvalid(
            f"{where} is {manifest.artifact_type or 'an image'!r}, not a release manifest"
        )
    return descriptor, decode_release(data, where)


def write_release(transport: ImageTarget, release: ReleaseManifest) -> tuple[Descriptor, bool]:
    """Store a release manifest under its tag.

    Returns:
        Its descriptor, and whether the tag named another one before.
    """
    try:
        before: Digest | str = transport.resolve(release.tag).digest
    except ImageNotFound:
        before = ""
    descriptor = attach(
        transport, encode(release), artifact_type=RELEASE, media_type=RELEASE, tag=release.tag
    )
    return descriptor, before not in ("", descriptor.digest)
