"""Answers of apt about packages: records (deb822 stanzas) and planned installations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from enginecrate.errors import SourceUnavailable
from enginecrate.stacks.lock import LockedDeb

__all__ = ["PlannedPackage", "planned_packages", "records"]

_INSTALL = re.compile(r"^Inst (\S+?)(?::\S+)? \((\S+) .*\[(\S+)\]\)", re.MULTILINE)
_SOURCE = re.compile(r"(\S+)(?: \((\S+)\))?")


class PlannedPackage(NamedTuple):
    """A package that apt would install."""

    name: str
    version: str


def planned_packages(output: str) -> list[PlannedPackage]:
    """The packages that `apt-get --simulate install` names, sorted."""
    return sorted(PlannedPackage(match[1], match[2]) for match in _INSTALL.finditer(output))


def records(output: str) -> Iterator[LockedDeb]:
    """The packages that `apt-cache show` describes, in its order.

    Raises:
        SourceUnavailable: a record without a sha256 checksum: the source is not fit for a lock.
    """
    for stanza in re.split(r"\n\s*\n", output):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.splitlines()
            if ": " in line and not line[0].isspace()
        )
        if "Filename" in fields:
            yield _locked(fields)


def _locked(fields: dict[str, str]) -> LockedDeb:
    try:
        name, version = fields["Package"], fields["Version"]
        source = _SOURCE.fullmatch(fields.get("Source", name))
        return LockedDeb(
            name=name,
            version=version,
            architecture=fields["Architecture"],
            file=fields["Filename"].rpartition("/")[2],
            sha256=fields["SHA256"],
            size=int(fields["Size"]),
            source=f"{source[1]} {source[2] or version}" if source else "",
        )
    except (KeyError, ValueError) as exc:
        raise SourceUnavailable(
            f"apt's record of {fields.get('Package', 'a package')} lacks {exc}; correct the "
            "package source, or leave it out with --apt-sources"
        ) from exc
