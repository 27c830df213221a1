"""Refuses files that hold keys or tokens: an image is read by everybody who gets it.

The same scanner looks that `enginecrate audit` has, so what it would call serious never gets in.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from enginecrate.errors import RecipeInvalid
from enginecrate.image.audit.report import Severity
from enginecrate.image.audit.rule_data import load_rules
from enginecrate.image.audit.secret_scanner import SecretMatch, load_scanner, read_searchable

__all__ = ["refuse_secret"]

_KEY_FILES = re.compile(
    r"(?i)id_(rsa|dsa|ecdsa|ed25519)|(?!truststore\.).*\.(key|p12|pfx|jks|keystore|kdbx|ppk)"
)
_SERIOUS = (Severity.CRITICAL, Severity.HIGH)


def refuse_secret(path: Path, name: str, at: str) -> None:
    """Do nothing, unless the file holds a secret, or has the name of a key.

    Args:
        path: on this machine.
        name: in the project, for the message.
        at: in the image, without a leading slash.

    Raises:
        RecipeInvalid: it does. The message never shows its content.
    """
    if _KEY_FILES.fullmatch(path.name):
        reason = "its name is one that keys have"
    elif match := _serious(path, at):
        reason = (
            f"line {match.line} holds {match.what} (an example may stay if its value has the word "
            "EXAMPLE in it)"
        )
    else:
        return
    raise RecipeInvalid(
        f"{name} must not go into an image: {reason}; take it out of the folders that the manifest "
        "names, and, if it was ever published, replace the key"
    )


def _serious(path: Path, at: str) -> SecretMatch | None:
    """The first match that the audit counts, and does not call a mere suspicion."""
    scanner = load_scanner()
    with path.open("rb") as file:
        data = read_searchable(path.stat().st_size, file)
    for match in scanner.search_file(at, data, _serious_rules()):
        if not scanner.reason_to_allow(at, match.kind):
            return match
    return None


@cache
def _serious_rules() -> frozenset[str]:
    return frozenset(name for name, rule in load_rules().items() if rule.severity in _SERIOUS)
