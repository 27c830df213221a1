"""The judgement of signatures: each one is compared with the keys, the image and the trust file."""

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
        """True when as many keys have signed as are required."""
        return len(self.signers) >= self.required

    def problem(self, what: str, nothing: str) -> str:
        """A sentence when it is not enough; empty when it is.

        Args:
            what: the signed thing, as in `the image`.
            nothing: the sentence when there is no signature at all.
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
    signatures: Sequence[FoundSignature],
    unreadable: Iterable[str],
    subjects: Collection[str],
    trust: Trust,
    version: str,
) -> Judgement:
    """Judge the signatures on something: those of trusted keys count.

    Args:
        signatures: those that could be read.
        unreadable: what is wrong with the others.
        subjects: digests, one of which a signature must name.
        trust: the keys.
        version: of the app.
    """
    signers: dict[str, TrustedKey] = {}
    objections: list[str] = []
    for signature in signatures:
        key = _maker(signature, trust)
        objection = _objection(signature, key, subjects, trust, version)
        if objection:
            objections.append(objection)
        elif key is not None:
            signers[key.key.id] = key
    return Judgement(
        signers=tuple(signers[name] for name in sorted(signers)),
        objections=tuple(dict.fromkeys((*objections, *unreadable))),
        required=trust.require,
    )


def _maker(signed: FoundSignature, trust: Trust) -> TrustedKey | None:
    return next(
        (one for one in trust.keys if one.key.verifies(signed.signature, signed.message)),
        None,
    )


def _objection(
    signed: FoundSignature,
    key: TrustedKey | None,
    subjects: Collection[str],
    trust: Trust,
    version: str,
) -> str:
    if key is None:
        return _unknown(signed, trust)
    if not set(signed.subjects) & set(subjects):
        others = ", ".join(signed.subjects) or "nothing"
        return (
            f"{signed.where} was made by the key {key.title}, but for {others}: it was copied from "
            "there"
        )
    objection = key.objection(version)
    return f"{signed.where}: {objection}" if objection else ""


def _unknown(signed: FoundSignature, trust: Trust) -> str:
    claimed = next((one for one in trust.keys if one.key.hint == signed.hint), None)
    if claimed is not None:
        return (
            f"{signed.where} claims the key {claimed.title}, which does not confirm it: it was "
            "changed after signing"
        )
    return f"{signed.where} was made with a key that is not among those given, or was changed"
