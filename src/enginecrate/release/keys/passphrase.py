"""Demands on the passphrase of a key that is being written. Keys that exist open with their own."""

from __future__ import annotations

from itertools import pairwise

from enginecrate.errors import KeyInvalid

__all__ = ["LEAST_CHARACTERS", "require_strong"]

LEAST_CHARACTERS = 8
"""As in NIST SP 800-63B, 5.1.1.2: at least eight characters, and no rules about their kinds."""
_LEAST_DIFFERENT = 4
_KNOWN = frozenset(
    ("password", "passphrase", "changeme", "change-me", "letmein", "iloveyou", "football",
     "qwertyui", "qwertyuiop", "1q2w3e4r", "abcd1234", "test1234", "admin123", "enginecrate")
)  # fmt: skip
"""Words that whoever guesses tries first; digits and signs after them change little."""


def require_strong(passphrase: bytes) -> None:
    """Refuse a passphrase that guessing finds at once. The message never shows it.

    Raises:
        KeyInvalid: it is empty, too short, of too few different characters, a row of neighbours
            such as `12345678`, or a word that everybody tries.
    """
    if not passphrase:
        raise KeyInvalid(
            "the passphrase is empty, and a private key needs a passphrase; give one, it is what "
            "protects a stolen file"
        )
    reason = _weakness(passphrase.decode("utf-8", "surrogateescape"))
    if reason:
        raise KeyInvalid(
            f"the passphrase {reason}; whoever steals the file would guess it; give one of at "
            f"least {LEAST_CHARACTERS} characters, such as four words that do not belong together"
        )


def _weakness(text: str) -> str:
    if len(text) < LEAST_CHARACTERS:
        count = "1 character" if len(text) == 1 else f"{len(text)} characters"
        return f"has {count}, and {LEAST_CHARACTERS} are the least"
    if not text.strip():
        return "is made of blanks"
    different = len(set(text))
    if different == 1:
        return "repeats one character"
    if different < _LEAST_DIFFERENT:
        return f"has {different} different characters, and {_LEAST_DIFFERENT} are the least"
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    if steps in ({1}, {-1}) or text in ("1234567890", "0987654321"):
        return "is a row of neighbours"
    if text.lower().rstrip("0123456789!.?") in _KNOWN or text.lower() in _KNOWN:
        return "is a word that everybody tries first"
    return ""
