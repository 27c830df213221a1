"""Whose signatures count: each one is compared with the keys, the image and the trust file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from enginecrate.release.keys.trust_file import Trust, TrustedKey
from enginecrate.release.signatures.reader import FoundSignature

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """signers: the keys whose signatures count. objections: why others do not."""

    signers: tuple[TrustedKey, ...]
    objections: tuple[str, ...]
    required: int

    @property
    def is_enough(self) -> bool:
        """Whether as many keys have signed as are required."""
        return len(self.signers) >= self.required

    def problem(self, what: str, nothing: str) -> str:
        """What to say when it is not enough; empty when it is.

        Args:
            what: that is signed: `the image`.
            nothing: what to say when there is no signature at all.
        """
        if self.is_enough:
            return ""
        if not self.objections and not self.signers:
            return nothing
        have = f"{len(self.signers)} of {self.required} required keys have signed {what}"
        return "; ".join([have, *self.objections])

    @property
    def names(self) -> str:
        """The signers, for people."""
        return ", ".join(one.title for one in self.signers)


def judge(
    found: Sequence[FoundSignature],
    unreadable: Iterable[str],
    subjects: Collection[str],
    trust: Trust,
    version: str,
) -> Judgement:
    """Find out whose signatures on something count.

    Args:
        found: signatures that could be read.
        unreadable: what is wrong with the others.
        subjects: digests, one of which a signature must name.
        trust: the keys.
        version: of the app.
    """
    signers: dict[str, TrustedKey] = {}
    objections: list[str] = []
    for one in found:
        key = _maker(one, trust)
        objection = _objection(one, key, subjects, trust, version)
        if objection:
            objections.append(objection)
        elif key is not None:
            signers[key.key.id] = key
    return Judgement(
        signers=tuple(signers[name] for name in sorted(signers)),
        objections=tuple(dict.fromkeys((*objections, *unreadable))),
        required=trust.require,
    )


def _maker(found: FoundSignature, trust: Trust) -> TrustedKey | None:
    return next(
        (one for one in trust.keys if one.key.verifies(found.signature, found.message)), None
    )


def _objection(
    found: FoundSignature,
    key: TrustedKey | None,
    subjects: Collection[str],
    trust: Trust,
    version: str,
) -> str:
    if key is None:
        return _unknown(found, trust)
    if not set(found.subjects) & set(subjects):
        others = ", ".join(found.subjects) or "nothing"
        return (
            f"{found.where} was made by the key {key.title}, but for {others}: it was copied from "
            "there"
        )
    objection = key.objection(version)
    return f"{found.where}: {objection}" if objection else ""


def _unknown(found: FoundSignature, trust: Trust) -> str:
    claimed = next((one for one in trust.keys if one.key.hint == found.hint), None)
    if claimed is not None:
        return (
            f"{found.where} claims the key {claimed.title}, which does not confirm it: it was "
            "changed after signing"
        )
    return f"{found.where} was made with a key that is not among those given, or was changed"
