"""The signatures on the images of one source: each image's are read once, and judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from enginecrate.image.transports.base import ImageSource
from enginecrate.release.keys.trust_file import Trust
from enginecrate.release.manifest import SignatureFormat
from enginecrate.release.signatures.judgement import Judgement, judge
from enginecrate.release.signatures.reader import FoundSignature, read_bundles, read_signatures
from enginecrate.release.signatures.sigstore_bundle import SIGN_PREDICATE
from enginecrate.values import Digest

__all__ = ["FORMATS", "ImageSignatures"]

FORMATS: tuple[SignatureFormat, ...] = get_args(SignatureFormat)
_WHERE = {
    "cosign": "under the tag sha256-<hex>.sig",
    "bundle": "as a sigstore bundle",
}

_Read = tuple[list[FoundSignature], list[str]]


class ImageSignatures:
    """Signatures on the images of a source, in both formats. Each image's are read once.

    All methods raise `RegistryUnavailable`, `RegistryDenied` or `OSError` for what cannot be
    reached; what is malformed is part of the answer.
    """

    def __init__(self, transport: ImageSource) -> None:
        self.transport = transport
        self._bundles: dict[Digest, _Read] = {}
        self._signatures: dict[Digest, _Read] = {}

    def bundles(self, digest: Digest) -> _Read:
        """The bundles of an image, as from `read_bundles`."""
        if digest not in self._bundles:
            self._bundles[digest] = read_bundles(self.transport, digest)
        return self._bundles[digest]

    def judge(self, digest: Digest, form: SignatureFormat, trust: Trust, version: str) -> Judgement:
        """The judgement of the signatures on an image, in one format."""
        if form == "cosign":
            if digest not in self._signatures:
                self._signatures[digest] = read_signatures(self.transport, digest)
            signatures, unreadable = self._signatures[digest]
        else:
            bundles, unreadable = self.bundles(digest)
            signatures = [one for one in bundles if one.predicate_type == SIGN_PREDICATE]
        return judge(signatures, unreadable, {digest}, trust, version)

    def signature_problems(
        self,
        digest: Digest,
        what: str,
        formats: Iterable[SignatureFormat],
        trust: Trust,
        version: str,
    ) -> list[str]:
        """Formats in which not enough keys have signed.

        Args:
            digest: of what is signed.
            what: for messages: `the image`.
            formats: in which it must be signed.
            trust: whose signatures count.
            version: of the app.
        """
        problems = []
        for form in formats:
            nothing = f"{what} is not signed: there is no signature {_WHERE[form]}"
            if problem := self.judge(digest, form, trust, version).problem(what, nothing):
                problems.append(problem)
        return problems
