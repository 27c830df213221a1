"""The logging configuration: one JSON object a line, or text for people on a terminal.

Importing configures nothing; the entry point of each process calls `configure_logs`. All processes
of a server write whole lines to one stream that they have inherited; log files are written by the
supervisor alone, which the others send their lines.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from enginecrate.server.logs.files import LogFile, log_folder
from enginecrate.server.logs.formatters import JsonFormatter, TextFormatter
from enginecrate.server.logs.line_socket import LineSocket
from enginecrate.server.logs.lines import LineStream
from enginecrate.settings import Settings

__all__ = ["configure_logs", "file_log"]


def configure_logs(
    settings: Settings,
    stream: TextIO | None = None,
    *,
    process: str = "",
    file_socket: int = -1,
) -> None:
    """Send every log record of this process to a stream, and to log files where there are any.

    Args:
        settings: everything that begins with `log_`.
        stream: default: by the setting `log_stream`.
        process: the name of a child of the supervisor, which each of its lines then bears.
        file_socket: takes the lines for log files in a child; -1: there are none.
    """
    if stream is None:
        stream = sys.stdout if settings.log_stream == "stdout" else sys.stderr
    form = settings.log_format
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    handler = LineStream(stream)
    handler.setFormatter(TextFormatter(process) if form == "text" else JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    file = _file_handler(settings, handler, process, file_socket)
    if file is not None:
        file.setFormatter(JsonFormatter(process))
        root.addHandler(file)
    root.setLevel(settings.log_level.upper())


def file_log() -> LogFile | None:
    """The log files of this process; `None`: it has none."""
    handlers = logging.getLogger().handlers
    return next((each for each in handlers if isinstance(each, LogFile)), None)


def _file_handler(
    settings: Settings, stream: logging.Handler, process: str, file_socket: int
) -> logging.Handler | None:
    if process:
        return LineSocket(file_socket) if file_socket >= 0 else None
    folder = log_folder(settings)
    return LogFile(folder, stream, settings) if folder is not None else None
