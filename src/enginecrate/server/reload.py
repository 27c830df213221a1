"""SIGHUP: the settings are read again, and a bad file changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from enginecrate.errors import EnginecrateError
from enginecrate.server.logs.events import log_event
from enginecrate.settings import SETTINGS, Settings

__all__ = ["ReadSettings", "reread"]

ReadSettings = Callable[[], Settings]
"""Reads all sources of settings again."""

_log = logging.getLogger(__name__)


def reread(settings: Settings, read: ReadSettings | None) -> Settings | None:
    """Read the settings again, and log what has become of it.

    Args:
        settings: those in use.
        read: how to read them; `None`: they come from no source that could have changed.

    Returns:
        Those to use from now on, with what may change in a running server; `None`: nothing of it
        has changed, or the new ones are invalid.
    """
    if read is None:
        return None
    try:
        found = read()
    except EnginecrateError as exc:
        log_event(_log, f"the settings stay as they are: {exc}", level=logging.ERROR, code=exc.code)
        return None
    changed = [row for row in SETTINGS if getattr(found, row.name) != getattr(settings, row.name)]
    live = {row.name: getattr(found, row.name) for row in changed if row.live}
    others = [row.name for row in changed if not row.live]
    words = ", ".join(f"{name} = {value}" for name, value in live.items()) or "nothing new"
    if others:
        words += f"; a restart is needed for {', '.join(others)}"
    log_event(_log, f"the settings were read again: {words}", changed=sorted(live), restart=others,
              level=logging.WARNING if others else logging.INFO)  # fmt: skip
    if not live:
        return None
    logging.getLogger().setLevel(found.log_level.upper())
    return replace(settings, **live, origin=found.origin)
