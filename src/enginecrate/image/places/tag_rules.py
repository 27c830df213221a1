"""Which tags never move: those that begin with a whole version."""

from __future__ import annotations

import re

__all__ = ["is_immutable"]

_WHOLE_VERSION = re.compile(r"v?\d+\.\d+\.\d+(?:[-_.+].*)?")


def is_immutable(tag: str) -> bool:
    """Whether a tag names one image for ever: `v1.2.0-ort-cpu`, `1.2.0`; not `v1.2-ort-cpu`."""
    return bool(_WHOLE_VERSION.fullmatch(tag))
