"""The bill of materials of an image, from its own files and compared with the lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from enginecrate.errors import ImageNotFound
from enginecrate.image.formats.oci import (
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
    decode_config,
)
from enginecrate.image.recipe.annotations import BASE_LAYERS
from enginecrate.image.resolve.target import PLATFORMS, marker_values
from enginecrate.image.sbom.app import app_components, read_app_manifest
from enginecrate.image.sbom.debian import debian_packages, operating_system
from enginecrate.image.sbom.image_files import ImageFiles, read_image_files
from enginecrate.image.sbom.licences import LicenceTexts, is_expression
from enginecrate.image.sbom.locked_digests import with_digests
from enginecrate.image.sbom.model import (
    BaseFacts,
    Component,
    Kind,
    Link,
    Relation,
    Sbom,
    Subject,
)
from enginecrate.image.sbom.purls import purl
from enginecrate.image.sbom.wheels import python_packages
from enginecrate.image.transports.base import ImageSource, read_listed
from enginecrate.image.transports.documents import INDEX_TYPES
from enginecrate.stacks.lock import LockedImage
from enginecrate.values import Progress, no_progress

__all__ = ["make_sbom"]

_OCI = "org.opencontainers.image."
_PYTHON = "3.11.0"


def make_sbom(
    transport: ImageSource,
    tag_or_digest: str,
    *,
    platform: str = "",
    locked: LockedImage | None = None,
    progress: Progress = no_progress,
) -> Sbom:
    """The bill of one platform's image.

    Args:
        transport: where it is.
        tag_or_digest: of the image or of an index of several platforms.
        platform: `linux/amd64`; needed for an index of several.
        locked: what it was made of; gives the digests of packages. Without one they are unknown.
        progress: counts bytes of the layers.

    Raises:
        ImageInvalid: the image is damaged, or holds other packages than the lock.
        ImageNotFound: there is none, or none for this platform.
        ArchiveUnsafe, BlobCorrupt: as from `read_filesystem`.
    """
    descriptor = _one_platform(transport, transport.resolve(tag_or_digest), platform)
    where = f"{descriptor.digest} in {transport.name}"
    manifest = decode(read_listed(transport, descriptor), ImageManifest, where)
    config = decode_config(b"".join(transport.read_blob(manifest.config)), f"config of {where}")
    subject = _subject(descriptor.digest, manifest, config)
    layers = subject.base.layers if subject.base else 0
    files = read_image_files(transport, manifest, progress, base_layers=layers)
    return _collect(files, subject, locked, _python(config, locked))


def _subject(digest: str, manifest: ImageManifest, config: ImageConfig) -> Subject:
    """The identity of an image by its annotations, or else its labels."""
    labels = {**config.config.labels, **manifest.annotations}
    name = labels.get(f"{_OCI}title", "") or "image"
    platform = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    licence = labels.get(f"{_OCI}licenses", "")
    return Subject(
        name=name,
        version=labels.get(f"{_OCI}version", ""),
        digest=digest,
        platform=platform,
        created=_utc(labels.get(f"{_OCI}created", "") or config.created),
        purl=purl("oci", "", name, digest, {"arch": config.architecture}),
        supplier=labels.get(f"{_OCI}vendor", ""),
        licence=licence if is_expression(licence) else "",
        summary=labels.get(f"{_OCI}description", ""),
        base=_base(labels),
    )


def _base(labels: Mapping[str, str]) -> BaseFacts | None:
    """The vendor's image below, as an image of ours names it."""
    digest, layers = labels.get(f"{_OCI}base.digest", ""), labels.get(BASE_LAYERS, "")
    if not digest or not layers.isdecimal():
        return None
    return BaseFacts(
        name=labels.get(f"{_OCI}base.name", "") or digest, digest=digest, layers=int(layers)
    )


def _collect(
    files: ImageFiles, subject: Subject, locked: LockedImage | None, python: str = _PYTHON
) -> Sbom:
    """The bill of an image's files; everything in it is sorted.

    Args:
        files: of the image.
        subject: the image.
        locked: as for `make_sbom`.
        python: version of the interpreter, for requirements that depend on it.

    Raises:
        ImageInvalid: the image holds other packages than the lock.
    """
    texts = LicenceTexts()
    system = operating_system(files)
    debs, deb_relations = debian_packages(files, system, texts)
    environment = _environment(subject.platform, python)
    wheels, wheel_relations = python_packages(files, environment, texts)
    packages = with_digests((*debs, *wheels), locked)
    manifest = read_app_manifest(files)
    app, app_relations = app_components(files, manifest, texts) if manifest else ((), ())
    base = _base_component(subject)
    components = (*(one for one in (base, system) if one), *packages, *app)
    relations = [*deb_relations, *wheel_relations, *app_relations]
    relations += [
        Relation(base.ref, Link.CONTAINS, one.ref) for one in components if base and one.from_base
    ]
    inside = {one.target for one in relations if one.link is Link.CONTAINS}
    relations += [
        Relation(subject.ref, Link.CONTAINS, one.ref) for one in components if one.ref not in inside
    ]
    return Sbom(
        subject=subject,
        components=tuple(sorted(components, key=lambda one: one.ref)),
        relations=tuple(sorted(set(relations))),
        licence_texts=texts.used_in((subject.licence, *(one.licence for one in components))),
    )


def _base_component(subject: Subject) -> Component | None:
    base = subject.base
    if base is None:
        return None
    return Component(
        kind=Kind.BASE,
        ref=base.ref,
        name=base.name,
        version=base.digest,
        sha256=base.digest.removeprefix("sha256:"),
        summary="the vendor's image below",
    )


def _one_platform(transport: ImageSource, descriptor: Descriptor, platform: str) -> Descriptor:
    if descriptor.media_type not in INDEX_TYPES:
        return descriptor
    data = read_listed(transport, descriptor)
    listed = decode(data, ImageIndex, f"{descriptor.digest} in {transport.name}").manifests
    images = {str(one.platform): one for one in listed if one.platform is not None}
    if not platform and len(images) == 1:
        return next(iter(images.values()))
    if platform not in images:
        raise ImageNotFound(
            f"{descriptor.digest} in {transport.name} has images for {', '.join(sorted(images))}, "
            f"and {platform or 'none'} was asked for; name one of them with --platform"
        )
    return images[platform]


def _utc(text: str) -> str:
    """A time in seconds, as SPDX wants it; the beginning of 1970 where it is unknown."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return "1970-01-01T00:00:00Z"
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _python(config: ImageConfig, locked: LockedImage | None) -> str:
    variables = dict(line.partition("=")[::2] for line in config.config.env)
    return (locked.interpreter if locked else "") or variables.get("PYTHON_VERSION", "") or _PYTHON


def _environment(platform: str, python: str) -> Mapping[str, str]:
    """Values of environment markers. Images of others may be for machines that ours never are."""
    _, machine = PLATFORMS.get("/".join(platform.split("/")[:2]), ("", ""))
    return marker_values(machine, python)
