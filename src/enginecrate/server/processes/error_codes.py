"""Errors over a channel: by their codes."""

from __future__ import annotations

from functools import cache

from enginecrate.errors import EnginecrateError, QueueFull

__all__ = ["error_of"]


def error_of(code: str, message: str, reason: str = "") -> EnginecrateError:
    """The error with a code; one whose code is unknown is our own fault (EC0001).

    Args:
        code: of its class.
        message: its words.
        reason: of a `QueueFull`.
    """
    kind = _by_code().get(code, EnginecrateError)
    if reason and kind is QueueFull:
        return QueueFull(message, reason=reason)
    try:
        return kind(message)
    except TypeError:  # made of facts, which its words hold already
        error = kind.__new__(kind)
        error.args = (message,)
        return error


@cache
def _by_code() -> dict[str, type[EnginecrateError]]:
    found: dict[str, type[EnginecrateError]] = {}
    kinds = [EnginecrateError]
    while kinds:
        kind = kinds.pop()
        if "code" in vars(kind):
            found[kind.code] = kind
        kinds += kind.__subclasses__()
    return found
