"""Rules about the image as a whole: names, labels, what it must contain, its layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules.subject import Breach, Subject

__all__ = ["CHECKS"]

_MOVING = re.compile(
    r"(?i)latest|stable|edge|nightly|main|master|dev(?:elop(?:ment)?)?|head|trunk|current|newest"
    r"|rolling|beta|prod(?:uction)?|staging|test"
)
_LABELS = (("source", "url", "vendor"), ("licenses",), ("version",), ("created",))
"""One of each group is enough: vendors of closed software have no public source."""
_CA_BUNDLES = (
    "etc/ssl/certs/ca-certificates.crt",
    "etc/ssl/cert.pem",
    "etc/ssl/ca-bundle.pem",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)
_PACKAGE_LISTS = (
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/pacman/local/ALPM_DB_VERSION",
)
_DOWNLOAD = re.compile(r"(?:^|\s|\))ADD\s+((?:--\S+\s+)*)(?:https?|ftp|git)(?:://|@)")


def _moving_tag(image: Subject) -> Iterator[Breach]:
    if image.pinned or any(not _MOVING.fullmatch(tag) for tag in image.tags):
        return
    if image.tags:
        yield Breach(f"its only tag is {image.tags[0]!r}")
    else:
        yield Breach("it has no tag, and was not named by its digest")


def _labels(image: Subject) -> Iterator[Breach]:
    known = {name for name, value in image.labels.items() if value}
    known |= {"org.opencontainers.image.created"} if image.config.created else set()
    missing = [
        ", ".join(group[:-1]) + f" or {group[-1]}" if group[1:] else group[0]
        for group in _LABELS
        if not any(f"org.opencontainers.image.{name}" in known for name in group)
    ]
    if missing:
        yield Breach(f"it has no label for {' and '.join(missing)}")


def _ca_bundle(image: Subject) -> Iterator[Breach]:
    if not any(image.files.resolve(path) for path in _CA_BUNDLES):
        yield Breach("there are no certificates of authorities", f"{_CA_BUNDLES[0]}")


def _time_zones(image: Subject) -> Iterator[Breach]:
    if image.files.resolve("usr/share/zoneinfo/UTC") is not None:
        return
    if not any(entry.path.endswith("/tzdata/zoneinfo/UTC") for entry in image.files):
        yield Breach("there is no time zone data", "usr/share/zoneinfo")


def _databases(image: Subject) -> Iterator[Breach]:
    files = image.files
    single = any(one.kind == "file" for one in files.below("var/lib/dpkg/status.d"))
    if not single and not any(files.resolve(path) for path in _PACKAGE_LISTS):
        yield Breach("there is no list of installed packages", "var/lib/dpkg/status")
    if files.resolve("etc/os-release") is None and files.resolve("usr/lib/os-release") is None:
        yield Breach("nothing says which distribution this is", "etc/os-release")


def _unsigned(image: Subject) -> Iterator[Breach]:
    if not image.signed:
        yield Breach("no signature is attached")


def _downloads(image: Subject) -> Iterator[Breach]:
    for number, step in enumerate(image.config.history, 1):
        match = _DOWNLOAD.search(step.created_by)
        if match and "--checksum=" not in match[1]:
            yield Breach(f"step {number} adds a file from an address")


def _foreign(image: Subject) -> Iterator[Breach]:
    for number in image.foreign:
        yield Breach("it is stored somewhere else, or may not be distributed", layer=number)


def _unreadable(image: Subject) -> Iterator[Breach]:
    for number, reason in sorted(image.unreadable.items()):
        yield Breach(reason, layer=number)


CHECKS: Mapping[str, Callable[[Subject], Iterator[Breach]]] = {
    "EC-IMG-052": _moving_tag,
    "EC-IMG-053": _labels,
    "EC-IMG-060": _ca_bundle,
    "EC-IMG-061": _time_zones,
    "EC-IMG-062": _databases,
    "EC-IMG-070": _unsigned,
    "EC-IMG-071": _downloads,
    "EC-IMG-072": _foreign,
    "EC-IMG-073": _unreadable,
}
