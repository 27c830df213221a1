"""Texts of an image without the secrets in them, for reports and messages."""

from __future__ import annotations

import re

from enginecrate.image.audit.rules.secret_scanner import REDACTED, load_scanner
from enginecrate.image.audit.rules.tokens import load_tokens

__all__ = ["redact", "redact_cut"]

_ASSIGNED = re.compile(
    r"""(?i)((?:pass(?:word|wd|phrase)?|pwd|secret|token|(?:api|access)[_-]?key|credentials?)["']?"""
    r"""[=:]["']?)([^\s"'&,;/]+)"""
)
_LOGIN = re.compile(r"(?<=://)[^\s/@]+(?=@)")
_LEAST_OF_CUT = 12
_SEPARATORS = "_-.:~$"


def redact(text: str) -> str:
    """The text with a mark in place of tokens, logins in addresses, and values of credentials."""
    text = load_scanner().redact(text)
    return _ASSIGNED.sub(rf"\1{REDACTED}", _LOGIN.sub(REDACTED, text))


def redact_cut(text: str) -> str:
    """The same for a text that may end within a token: what begins like one is no longer shown."""
    return _cut_tokens().sub(rf"\1{REDACTED}", redact(text))


def _cut_tokens() -> re.Pattern[str]:
    anchors = {
        re.escape(anchor)
        for form in load_tokens()
        for anchor in form.anchors
        if anchor[-1] in _SEPARATORS
    }
    return re.compile(rf"({'|'.join(sorted(anchors))})[A-Za-z0-9_+/=-]{{{_LEAST_OF_CUT},}}")
