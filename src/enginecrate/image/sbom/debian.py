"""Debian packages of an image, from `var/lib/dpkg` and `usr/share/doc`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from enginecrate.image.sbom.control_data import (
    named_packages,
    paragraphs,
    provided_packages,
)
from enginecrate.image.sbom.copyright_files import debian_licence
from enginecrate.image.sbom.image_files import ImageFiles
from enginecrate.image.sbom.licences import LicenceTexts
from enginecrate.image.sbom.model import Component, Kind, Link, Relation
from enginecrate.image.sbom.purls import purl, sound_url

__all__ = ["debian_packages", "operating_system"]

_STATUS = "var/lib/dpkg/status"
_STATUS_FOLDER = "var/lib/dpkg/status.d/"
_RELEASES = ("etc/os-release", "usr/lib/os-release")


def operating_system(files: ImageFiles) -> Component | None:
    """The distribution that `os-release` names, if any. Source: os-release(5)."""
    for path in _RELEASES:
        try:
            text = files.read(path).decode(errors="replace")
        except KeyError:
            continue
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        fields = {name: value.strip().strip("\"'") for name, value in fields.items()}
        name = fields.get("ID", "linux")
        return Component(
            kind=Kind.SYSTEM,
            ref=f"system/{name}",
            name=name,
            version=fields.get("VERSION_ID", ""),
            supplier=fields.get("NAME", name).removesuffix(" GNU/Linux"),
            summary=fields.get("PRETTY_NAME", ""),
            from_base=files.in_base(path),
            homepage=sound_url(fields.get("HOME_URL", "")),
        )
    return None


def debian_packages(
    files: ImageFiles, system: Component | None, texts: LicenceTexts
) -> tuple[tuple[Component, ...], tuple[Relation, ...]]:
    """Every installed package with its licence, and what each depends on.

    Args:
        files: of the image.
        system: the distribution, for package URLs.
        texts: grows by what SPDX has no name for.
    """
    installed = sorted(_installed(files), key=lambda one: one[0]["package"])
    packages = [fields for fields, _ in installed]
    by_source = _copyright_files(packages, files)
    components = tuple(
        replace(
            _component(fields, by_source.get(_source(fields), ("", "")), system, texts),
            from_base=files.in_base(path),
        )
        for fields, path in installed
    )
    return components, tuple(_dependencies(packages))


def _installed(files: ImageFiles) -> Iterator[tuple[Mapping[str, str], str]]:
    """The fields of each package, and the file that lists it."""
    wanted = [
        path
        for path in files.paths
        if path == _STATUS or (path.startswith(_STATUS_FOLDER) and not path.endswith(".md5sums"))
    ]
    for path in wanted:
        for fields in paragraphs(files.read(path).decode(errors="replace")):
            status = fields.get("status", "install ok installed")
            if {"package", "version"} <= fields.keys() and status.endswith(" installed"):
                yield fields, path


def _component(
    fields: Mapping[str, str],
    copyright_file: tuple[str, str],
    system: Component | None,
    texts: LicenceTexts,
) -> Component:
    name, version = fields["package"], fields["version"]
    distribution = system.name if system else "debian"
    qualifiers = {"arch": fields.get("architecture", "")}
    if system and system.version:
        qualifiers["distro"] = f"{system.name}-{system.version}"
    source, source_version = _source(fields)
    if (source, source_version) != (name, version):
        other = f"@{source_version}" if source_version != version else ""
        qualifiers["upstream"] = f"{source}{other}"
    return Component(
        kind=Kind.DEB,
        ref=f"deb/{name}",
        name=name,
        version=version,
        purl=purl("deb", distribution, name, version, qualifiers),
        licence=debian_licence(*copyright_file, texts),
        supplier=system.supplier if system else "Debian",
        author=fields.get("maintainer", "").split("<", 1)[0].strip(),
        summary=fields.get("description", "").partition("\n")[0],
        homepage=sound_url(fields.get("homepage", "")),
    )


def _source(fields: Mapping[str, str]) -> tuple[str, str]:
    """Name and version of the source package: `Source: bzip2 (1.0.8-5)`, or the package's own."""
    name, _, version = fields.get("source", "").partition(" ")
    return name or fields["package"], version.strip(" ()") or fields["version"]


def _copyright_files(
    packages: Sequence[Mapping[str, str]], files: ImageFiles
) -> Mapping[tuple[str, str], tuple[str, str]]:
    """Package and text of the copyright file by source package.

    Packages of one source share it: some have but a link to it (Debian Policy 12.5), which an image
    may leave out.
    """
    texts: dict[tuple[str, str], tuple[str, str]] = {}
    for fields in packages:
        name = fields["package"]
        with contextlib.suppress(KeyError):
            text = files.read(f"usr/share/doc/{name}/copyright").decode(errors="replace")
            texts.setdefault(_source(fields), (name, text))
    return texts


def _dependencies(packages: Sequence[Mapping[str, str]]) -> Iterator[Relation]:
    """Dependencies that are in the image; of alternatives, each one that is."""
    providers: dict[str, set[str]] = {}
    for fields in packages:
        for name in (fields["package"], *provided_packages(fields.get("provides", ""))):
            providers.setdefault(name, set()).add(fields["package"])
    for fields in packages:
        needs = f"{fields.get('pre-depends', '')},{fields.get('depends', '')}"
        provided_by = {
            provider
            for choices in named_packages(needs)
            for choice in choices
            for provider in providers.get(choice, ())
        }
        for provider in sorted(provided_by - {fields["package"]}):
            yield Relation(f"deb/{fields['package']}", Link.DEPENDS_ON, f"deb/{provider}")
