"""The packages of an image beside those of its lock, which has their digests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from enginecrate.errors import ImageInvalid
from enginecrate.image.resolve.bases import load_base
from enginecrate.image.sbom.model import Component, Kind
from enginecrate.stacks.lock import LockedImage
from enginecrate.values import canonical_name

__all__ = ["with_digests"]

_OWN = "enginecrate"
"""The one wheel that no lock names: this program."""


def with_digests(
    packages: Iterable[Component], locked: LockedImage | None
) -> tuple[Component, ...]:
    """Packages with the digests of the files that they came in.

    What a vendor's image brought is in no lock: it belongs to the digest of that image.

    Args:
        packages: of an image.
        locked: what it was made of; without it the digests stay unknown.

    Raises:
        ImageInvalid: the image holds other packages than the lock.
    """
    packages = tuple(packages)
    if locked is None:
        return packages
    digests, has_base = _locked(locked), load_base(locked.base).vendor_image
    by_key = {
        (
            one.kind,
            canonical_name(one.name) if one.kind is Kind.WHEEL else one.name,
            one.version,
        ): one
        for one in packages
        if one.kind in (Kind.DEB, Kind.WHEEL) and not (has_base and one.from_base)
    }
    unknown = {key for key in by_key.keys() - digests.keys() if key[1] != _OWN}
    missing = digests.keys() - by_key.keys()
    if unknown or missing:
        raise ImageInvalid(
            f"the image and its lock differ: not in the lock: {_names(unknown)}; not in the image: "
            f"{_names(missing)}; build the image again with this lock"
        )
    by_ref = {one.ref: digests.get(key, "") for key, one in by_key.items()}
    return tuple(
        replace(one, sha256=by_ref[one.ref]) if by_ref.get(one.ref) else one for one in packages
    )


def _locked(locked: LockedImage) -> dict[tuple[Kind, str, str], str]:
    debs = {(Kind.DEB, one.name, one.version): one.sha256 for one in locked.debs}
    wheels = {
        (Kind.WHEEL, canonical_name(one.name), one.version): one.sha256 for one in locked.wheels
    }  # fmt: skip
    return {**debs, **wheels}


def _names(keys: Iterable[tuple[Kind, str, str]]) -> str:
    return ", ".join(f"{kind} {name} {version}" for kind, name, version in sorted(keys)) or "none"
