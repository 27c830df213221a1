"""Changes between two locks, for people who decide about an upgrade."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from enginecrate.stacks.lock import Lock, LockedImage

__all__ = ["Change", "changes"]

_Kind = Literal["deb", "wheel", "interpreter", "compression", "base"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing of one image. `before` or `after` is empty for what is added or goes away.

    A package whose version is the same and whose file is another has checksums there.
    """

    stack: str
    platform: str
    kind: Literal["deb", "wheel", "interpreter", "compression", "base"]
    name: str
    before: str
    after: str


def changes(before: Lock | None, after: Lock) -> tuple[Change, ...]:
    """Everything that differs in the images of two locks, sorted."""
    old = {(one.stack, one.platform): one for one in (before.images if before else ())}
    new = {(one.stack, one.platform): one for one in after.images}
    return tuple(
        change
        for key in sorted(old.keys() | new.keys())
        for change in _between(key, old.get(key), new.get(key))
    )


def _between(
    key: tuple[str, str], old: LockedImage | None, new: LockedImage | None
) -> Iterator[Change]:
    before, after = _facts(old), _facts(new)
    for kind, name in sorted(before.keys() | after.keys()):
        was, now = before.get((kind, name), ("", "")), after.get((kind, name), ("", ""))
        if was == now:
            continue
        same = was[0] == now[0]
        yield Change(
            stack=key[0],
            platform=key[1],
            kind=kind,
            name=name,
            before=f"sha256:{was[1]}" if same else was[0],
            after=f"sha256:{now[1]}" if same else now[0],
        )


def _facts(image: LockedImage | None) -> Mapping[tuple[_Kind, str], tuple[str, str]]:
    """Version and checksum of everything by kind and name."""
    if image is None:
        return {}
    facts: dict[tuple[_Kind, str], tuple[str, str]] = {
        ("base", "base"): (image.base, ""),
        ("compression", "compression"): (image.compression, ""),
        ("interpreter", "python"): (image.interpreter, ""),
    }
    for deb in image.debs:
        facts["deb", deb.name] = (deb.version, deb.sha256)
    for wheel in image.wheels:
        facts["wheel", wheel.name] = (wheel.version, wheel.sha256)
    return facts
