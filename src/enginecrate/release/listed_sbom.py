"""The SBOM that a release lists for an image, read back as far as VEX statements need it."""

from __future__ import annotations

import msgspec

from enginecrate.errors import ReleaseInvalid
from enginecrate.image.sbom.model import Component, Kind, Sbom, Subject
from enginecrate.image.transports.base import Place
from enginecrate.release.manifest import ListedImage, ListedPlatform
from enginecrate.release.signatures.listing import read_listed

__all__ = ["read_listed_sbom"]


class _Hash(msgspec.Struct, frozen=True):
    alg: str
    content: str


class _Entry(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""
    purl: str = ""
    ref: str = msgspec.field(default="", name="bom-ref")
    hashes: tuple[_Hash, ...] = ()

    @property
    def sha256(self) -> str:
        return next((one.content for one in self.hashes if one.alg == "SHA-256"), "")


class _Metadata(msgspec.Struct, frozen=True):
    component: _Entry = _Entry()


class _CycloneDx(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    components: tuple[_Entry, ...] = ()


def read_listed_sbom(place: Place, image: ListedImage, platform: ListedPlatform) -> Sbom:
    """The names, package URLs and digests of a platform's CycloneDX SBOM; nothing else of it.

    Raises:
        ReleaseInvalid: the release lists none, or it is malformed.
        ImageError: it cannot be read.
    """
    where = f"the SBOM of {platform.platform} of {image.tag}"
    subjects = (platform.digest, image.digest)
    listed = next(
        (one for one in image.attachments
         if one.kind == "sbom-cyclonedx" and one.subject in subjects),
        None,
    )  # fmt: skip
    if listed is None:
        raise ReleaseInvalid(f"the release does not list {where}; make the release again")
    try:
        document = msgspec.json.decode(read_listed(place, listed), type=_CycloneDx)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReleaseInvalid(f"{where} is not CycloneDX: {exc}; make the release again") from exc
    named = document.metadata.component
    subject = Subject(
        name=named.name or "image",
        version=named.version,
        digest=platform.digest,
        platform=platform.platform,
        created="",
        purl=named.purl,
    )
    components = tuple(
        Component(
            # The kind is in a property, and no VEX statement asks for it.
            kind=Kind.DATA,
            ref=one.ref,
            name=one.name,
            version=one.version,
            purl=one.purl,
            sha256=one.sha256,
        )
        for one in document.components
    )
    return Sbom(subject=subject, components=components, relations=(), licence_texts={})
