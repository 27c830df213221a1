"""Refuses files that look like keys or passwords: an image is read by everybody who gets it."""

from __future__ import annotations

import re
from pathlib import Path

from enginecrate.errors import RecipeInvalid

__all__ = ["refuse_secret"]

_NAMES = re.compile(
    r"(?i)id_(rsa|dsa|ecdsa|ed25519)|\.?env(\..*)?|\.?(netrc|npmrc|pypirc|pgpass|htpasswd)"
    r"|credentials(\.json)?|.*\.(key|p12|pfx|jks|keystore|kdbx|ppk)"
)
_CONTENT = re.compile(
    rb"-----BEGIN (?:[A-Z ]+ )?PRIVATE KEY(?: BLOCK)?-----|\bAKIA[0-9A-Z]{16}\b"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bglpat-[A-Za-z0-9_-]{20}\b"
)
_BINARY = frozenset({".onnx", ".data", ".bin", ".npz", ".npy", ".png", ".jpg", ".jpeg", ".webp"})
_MOST = 1 << 20


def refuse_secret(path: Path, name: str) -> None:
    """Do nothing, unless the file looks like a secret.

    Args:
        path: on this machine; its first MiB is searched, unless it is a picture or weights.
        name: for the message.

    Raises:
        RecipeInvalid: it does. The message never shows its content.
    """
    if _NAMES.fullmatch(path.name):
        reason = "its name is one that keys and passwords have"
    elif path.suffix.lower() not in _BINARY and _CONTENT.search(_beginning(path)):
        reason = "it holds a private key or an access token"
    else:
        return
    raise RecipeInvalid(
        f"{name} must not go into an image: {reason}; take it out of the folders that the manifest "
        "names, and, if it was ever published, replace the key"
    )


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST)
