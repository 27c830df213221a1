"""Log events: messages with fields of their own."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["log_event"]


def log_event(
    logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: Any
) -> None:
    """Log a message with fields of its own."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields})
