"""Collect the bill of materials of an image from its own files, and compare it with the lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from enginecrate.errors import ImageInvalid, ImageNotFound
from enginecrate.image.oci import (
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
    decode,
    digest_of,
)
from enginecrate.image.places.documents import INDEX_TYPES
from enginecrate.image.places.place import Place
from enginecrate.image.sbom.app import app_components, read_app_manifest
from enginecrate.image.sbom.debian import debian_packages, operating_system
from enginecrate.image.sbom.image_files import ImageFiles, read_image_files
from enginecrate.image.sbom.licences import LicenceTexts, is_expression
from enginecrate.image.sbom.model import Component, Kind, Link, Relation, Sbom, Subject
from enginecrate.image.sbom.purls import purl, wheel_name
from enginecrate.image.sbom.wheels import python_packages
from enginecrate.stacks.lock import LockedImage
from enginecrate.values import Progress, no_progress

__all__ = ["collect_sbom", "make_sbom", "make_subject"]

_OCI = "org.opencontainers.image."
_OWN = "enginecrate"
"""The one wheel that no lock names: this program."""
_PYTHON = "3.11.0"


def make_sbom(
    place: Place,
    tag_or_digest: str,
    *,
    platform: str = "",
    locked: LockedImage | None = None,
    progress: Progress = no_progress,
) -> Sbom:
    """The bill of one platform's image.

    Args:
        place: where it is.
        tag_or_digest: of the image or of an index of several platforms.
        platform: `linux/amd64`; needed for an index of several.
        locked: what it was made of; gives the digests of packages. Without one they are unknown.
        progress: counts bytes of the layers.

    Raises:
        ImageInvalid: the image is damaged, or holds other packages than the lock.
        ImageNotFound: there is none, or none for this platform.
        ArchiveUnsafe, BlobCorrupt: as from `read_filesystem`.
    """
    descriptor = _one_platform(place, place.resolve(tag_or_digest), platform)
    where = f"{descriptor.digest} in {place.name}"
    manifest = decode(place.read_manifest(digest_of(descriptor)), ImageManifest, where)
    config = decode(b"".join(place.read_blob(manifest.config)), ImageConfig, f"config of {where}")
    files = read_image_files(place, manifest, progress)
    subject = make_subject(descriptor.digest, manifest, config)
    return collect_sbom(files, subject, locked, _python(config, locked))


def make_subject(digest: str, manifest: ImageManifest, config: ImageConfig) -> Subject:
    """Who the image says that it is: its annotations, or else its labels."""
    said = {**config.config.labels, **manifest.annotations}
    name = said.get(f"{_OCI}title", "") or "image"
    platform = "/".join(filter(None, (config.os, config.architecture, config.variant)))
    licence = said.get(f"{_OCI}licenses", "")
    return Subject(
        name=name,
        version=said.get(f"{_OCI}version", ""),
        digest=digest,
        platform=platform,
        created=_utc(said.get(f"{_OCI}created", "") or config.created),
        purl=purl("oci", "", name, digest, {"arch": config.architecture}),
        supplier=said.get(f"{_OCI}vendor", ""),
        licence=licence if is_expression(licence) else "",
        summary=said.get(f"{_OCI}description", ""),
    )


def collect_sbom(
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
    packages = _with_digests((*debs, *wheels), locked)
    manifest = read_app_manifest(files)
    app, app_relations = app_components(files, manifest, texts) if manifest else ((), ())
    components = (*((system,) if system else ()), *packages, *app)
    relations = [*deb_relations, *wheel_relations, *app_relations]
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


def _one_platform(place: Place, descriptor: Descriptor, platform: str) -> Descriptor:
    if descriptor.media_type not in INDEX_TYPES:
        return descriptor
    data = place.read_manifest(digest_of(descriptor))
    listed = decode(data, ImageIndex, f"{descriptor.digest} in {place.name}").manifests
    images = {str(one.platform): one for one in listed if one.platform is not None}
    if not platform and len(images) == 1:
        return next(iter(images.values()))
    if platform not in images:
        raise ImageNotFound(
            f"{descriptor.digest} in {place.name} has images for {', '.join(sorted(images))}, and "
            f"{platform or 'none'} was asked for; name one of them with --platform"
        )
    return images[platform]


def _utc(text: str) -> str:
    """A time in seconds, as SPDX wants it; the beginning of 1970 where nobody knows."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return "1970-01-01T00:00:00Z"
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _python(config: ImageConfig, locked: LockedImage | None) -> str:
    said = dict(one.partition("=")[::2] for one in config.config.env)
    return (locked.interpreter if locked else "") or said.get("PYTHON_VERSION", "") or _PYTHON


def _environment(platform: str, python: str) -> Mapping[str, str]:
    """Values of environment markers. Source: PyPA, "Dependency specifiers"."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": "posix",
        "platform_machine": machine.get(platform.split("/")[1] if "/" in platform else "", ""),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
        "sys_platform": "linux",
    }


def _with_digests(
    packages: Iterable[Component], locked: LockedImage | None
) -> tuple[Component, ...]:
    """Packages with the digests of the files that they came in."""
    packages = tuple(packages)
    if locked is None:
        return packages
    digests = _locked(locked)
    found = {
        (one.kind, wheel_name(one.name) if one.kind is Kind.WHEEL else one.name, one.version): one
        for one in packages
        if one.kind in (Kind.DEB, Kind.WHEEL)
    }
    unknown = {key for key in found.keys() - digests.keys() if key[1] != _OWN}
    missing = digests.keys() - found.keys()
    if unknown or missing:
        raise ImageInvalid(
            f"the image and its lock differ: not in the lock: {_names(unknown)}; not in the image: "
            f"{_names(missing)}; build the image again with this lock"
        )
    by_ref = {one.ref: digests.get(key, "") for key, one in found.items()}
    return tuple(
        replace(one, sha256=by_ref[one.ref]) if by_ref.get(one.ref) else one for one in packages
    )


def _locked(locked: LockedImage) -> dict[tuple[Kind, str, str], str]:
    debs = {(Kind.DEB, one.name, one.version): one.sha256 for one in locked.debs}
    wheels = {
        (Kind.WHEEL, wheel_name(one.name), one.version): one.sha256 for one in locked.wheels
    }  # fmt: skip
    return {**debs, **wheels}


def _names(keys: Iterable[tuple[Kind, str, str]]) -> str:
    return ", ".join(f"{kind} {name} {version}" for kind, name, version in sorted(keys)) or "none"
