"""Errors of the way to an image are told apart from faults of the image.

A registry that does not answer, a full disk and a container runtime that does not work say nothing
about an image: neither that it is sound nor that it is not.
"""

from __future__ import annotations

from enginecrate.errors import (
    EnginecrateError,
    MissingExtra,
    RegistryDenied,
    RegistryUnavailable,
    SystemRefused,
    VerificationIncomplete,
)

__all__ = ["UNREACHABLE", "fault"]

UNREACHABLE = (
    RegistryUnavailable,
    RegistryDenied,
    SystemRefused,
    MissingExtra,
    VerificationIncomplete,
    OSError,
)
"""Errors of the way to an image, and not of the image."""


def fault(error: EnginecrateError) -> str:
    """The fault of an image that an error names. One of `UNREACHABLE` is raised again."""
    if isinstance(error, UNREACHABLE):
        raise error
    return str(error)
