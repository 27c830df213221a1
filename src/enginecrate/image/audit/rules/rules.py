"""Every rule with what decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from enginecrate.image.audit.rules import accounts as check_accounts
from enginecrate.image.audit.rules import config as check_config
from enginecrate.image.audit.rules import files as check_files
from enginecrate.image.audit.rules import image as check_image
from enginecrate.image.audit.rules import programs as check_programs
from enginecrate.image.audit.rules import secrets as check_secrets
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
