"""The bundle of certificates, which a script of the Debian package `ca-certificates` would make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enginecrate.errors import RecipeInvalid
from enginecrate.image.layers.entries import Entry, RegularFile, key_of
from enginecrate.image.layers.packages.debs import DebContents

__all__ = ["CA_BUNDLE", "CaBundle"]

CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


class CaBundle:
    """The certificates of the package `ca-certificates` as one file, sorted by their names."""

    def __init__(self, deb: DebContents) -> None:
        self._deb = deb

    def __str__(self) -> str:
        return f"bundle of {self._deb}"

    @property
    def key(self) -> str:
        return key_of("ca 1", self._deb.key)

    @classmethod
    def among(cls, debs: Sequence[DebContents]) -> CaBundle:
        """Raises `RecipeInvalid`: the lock has no `ca-certificates`."""
        for deb in debs:
            if deb.locked.name == "ca-certificates":
                return cls(deb)
        raise RecipeInvalid(
            "the lock has no package ca-certificates, and without it no TLS connection can be "
            "checked; write the lock again with `enginecrate lock`"
        )

    def entries(self) -> Iterator[Entry]:
        """Raises `ArchiveUnsafe`, `ArtifactChanged`, `RecipeInvalid`."""
        files = sorted(self._deb.files("usr/share/ca-certificates"))
        certificates = [data.strip() + b"\n" for path, data in files if path.endswith(".crt")]
        if not certificates:
            raise RecipeInvalid(f"{self._deb} holds no certificates; lock another version")
        yield RegularFile(CA_BUNDLE, b"".join(certificates))
