"""Every rule with the check that decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules import accounts, config, files, image, programs, secrets
from enginecrate.image.audit.rules.subject import Breach, Subject

__all__ = ["CHECKS"]

_Check = Callable[[Subject], Iterator[Breach]]
"""Yields the breaches of one rule."""

CHECKS: Mapping[str, _Check] = {
    **accounts.CHECKS,
    **files.CHECKS,
    **programs.CHECKS,
    **secrets.CHECKS,
    **config.CHECKS,
    **image.CHECKS,
}
