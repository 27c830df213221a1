"""SIGHUP: the settings are read again, and a bad file changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from enginecrate.errors import EnginecrateError
from enginecrate.server.logs.events import log_event
from enginecrate.settings import SETTINGS, Settings

__all__ = ["LiveSettings", "ReadSettings"]

ReadSettings = Callable[[], Settings]
"""Reads all sources of settings again."""

_log = logging.getLogger(__name__)


class LiveSettings:
    """The settings in use. `reread` replaces them.

    on_change: called with them when something has changed.
    """

    def __init__(self, settings: Settings, read: ReadSettings | None = None) -> None:
        """Begin with these.

        Args:
            settings: as at the start.
            read: reads them again; `None`: they come from no source that could change.
        """
        self.settings = settings
        self.on_change: list[Callable[[Settings], None]] = []
        self._read = read

    def reread(self) -> bool:
        """Read the settings again, and log what has become of it.

        Returns:
            Whether something has changed that may change in a running server. What needs a restart
            is as it was.
        """
        if self._read is None:
            return False
        try:
            found = self._read()
        except EnginecrateError as exc:
            words = f"the settings stay as they are: {exc}"
            log_event(_log, words, level=logging.ERROR, code=exc.code)
            return False
        before = self.settings
        changed = [row for row in SETTINGS if getattr(found, row.name) != getattr(before, row.name)]
        live = {row.name: getattr(found, row.name) for row in changed if row.live}
        others = [row.name for row in changed if not row.live]
        words = ", ".join(f"{name} = {value}" for name, value in live.items()) or "nothing new"
        if others:
            words += f"; a restart is needed for {', '.join(others)}"
        level = logging.WARNING if others else logging.INFO
        words = f"the settings were read again: {words}"
        log_event(_log, words, level=level, changed=sorted(live), restart=others)
        if live:
            self.use(replace(before, **live, origin=found.origin))
        return bool(live)

    def use(self, settings: Settings) -> None:
        """Use these from now on: all that is needed where another process has read them."""
        self.settings = settings
        logging.getLogger().setLevel(settings.log_level.upper())
        for tell in self.on_change:
            tell(settings)
