"""Whether a product that a VEX document names is an image, or in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from enginecrate.errors import MissingExtra
from enginecrate.image.sbom.model import Sbom

if TYPE_CHECKING:
    from packageurl import PackageURL

__all__ = ["Products"]


class Products:
    """The image of a bill and everything in it, by package URL and by sha256."""

    def __init__(self, sbom: Sbom, digests: Iterable[str] = ()) -> None:
        """`digests`: more of the same image, as that of its index."""
        own = {sbom.subject.digest, *digests}
        self._sha256 = {one.removeprefix("sha256:") for one in own}
        self._sha256.update(one.sha256 for one in sbom.components if one.sha256)
        found = (sbom.subject.purl, *(one.purl for one in sbom.components))
        self._purls = [_parse(one) for one in found if one]
        self._images = {f"sha256:{one}" for one in self._sha256}

    def has_digest(self, sha256: str) -> bool:
        """`sha256`: in hex, with or without its name before it."""
        return sha256.lower().removeprefix("sha256:") in self._sha256

    def has_purl(self, text: str) -> bool:
        """Whether a package URL means something here.

        Without a version it means every version; qualifiers that it has must be the same. An image
        (`pkg:oci`) is compared by its digest alone, since it may lie in any repository.
        """
        try:
            wanted = _parse(text)
        except ValueError:
            return False
        if wanted.type == "oci":
            return wanted.version in self._images
        return any(_means(wanted, one) for one in self._purls)


def _parse(text: str) -> PackageURL:
    try:
        from packageurl import PackageURL
    except ImportError as exc:
        raise MissingExtra("cyclonedx-python-lib", extra="image") from exc
    return PackageURL.from_string(text)


def _means(wanted: PackageURL, here: PackageURL) -> bool:
    if (wanted.type, wanted.namespace, wanted.name) != (here.type, here.namespace, here.name):
        return False
    if wanted.version and wanted.version != here.version:
        return False
    have = here.qualifiers if isinstance(here.qualifiers, dict) else {}
    asked = wanted.qualifiers if isinstance(wanted.qualifiers, dict) else {}
    return all(have.get(name) == value for name, value in asked.items())
