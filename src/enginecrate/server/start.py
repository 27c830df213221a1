"""The start of a server: one process, or a supervisor with an engine process and front ends.

Importing this imports next to nothing: the supervisor has neither numpy nor a runtime of models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from enginecrate.errors import EnginecrateError
from enginecrate.server.logs.events import log_event
from enginecrate.server.processes.front_end_count import count_front_ends, machine_facts
from enginecrate.server.reload import ReadSettings
from enginecrate.settings import Settings

__all__ = ["log_end", "serve"]

_log = logging.getLogger(__name__)


def serve(
    path: Path,
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    read_settings: ReadSettings | None = None,
    before_import: Callable[[], None] | None = None,
) -> None:
    """Serve the app until SIGTERM or SIGINT; requests that run are answered first.

    Args:
        path: the project's folder, or its manifest.
        settings: resolved; `frontends` says how many processes there are.
        announce: called with the server's URL as soon as it listens.
        read_settings: reads the settings again, on SIGHUP.
        before_import: called before this process imports what reads models, if it does.

    Raises:
        ProjectError: the manifest cannot be used.
        AddressInUse: the server cannot listen.
        EnginecrateError: the model cannot be loaded.
    """
    count = count_front_ends(settings, machine_facts())
    if count.front_ends:
        from enginecrate.server.processes.supervisor import supervise

        supervise(path, settings, count, announce=announce, read_settings=read_settings)
        return
    if before_import is not None:
        before_import()
    from enginecrate.server import app

    app.serve(path, settings, announce=announce, read_settings=read_settings, count=count)


def log_end(error: EnginecrateError) -> None:
    """Log the error that has ended the server."""
    log_event(_log, str(error), level=logging.ERROR, code=error.code, kind=error.kind)
