"""Every rule with what decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit import (
    check_accounts,
    check_config,
    check_files,
    check_image,
    check_programs,
    check_secrets,
)
from enginecrate.image.audit.subject import Found, Subject

__all__ = ["CHECKS", "Check"]

Check = Callable[[Subject], Iterator[Found]]
"""The places of an image that break one rule."""

CHECKS: Mapping[str, Check] = {
    **check_accounts.CHECKS,
    **check_files.CHECKS,
    **check_programs.CHECKS,
    **check_secrets.CHECKS,
    **check_config.CHECKS,
    **check_image.CHECKS,
}
