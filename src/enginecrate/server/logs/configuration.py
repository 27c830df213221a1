"""The logging configuration: one JSON object a line, or text for people on a terminal.

Importing configures nothing; the entry point of each process calls `configure_logs`. All processes
of a server write whole lines to one stream that they have inherited; log files are written by the
supervisor alone, which the others send their lines.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
from typing import Any, TextIO

import msgspec

from enginecrate.server.logs.files import LogFile, log_folder
from enginecrate.server.logs.line_socket import LineSocket
from enginecrate.settings import Settings

__all__ = ["JsonFormatter", "TextFormatter", "configure_logs"]


_MAX_LINE = 4096
"""Longer lines of several processes may mix in one pipe: pipe(7), PIPE_BUF."""


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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter(process) if form == "text" else JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    file = _file_handler(settings, handler, process, file_socket)
    if file is not None:
        file.setFormatter(JsonFormatter(process))
        root.addHandler(file)
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _file_handler(
    settings: Settings, stream: logging.Handler, process: str, file_socket: int
) -> logging.Handler | None:
    if process:
        return LineSocket(file_socket) if file_socket >= 0 else None
    folder = log_folder(settings)
    return LogFile(folder, stream, settings) if folder is not None else None


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; a traceback goes into the field `exception`."""

    def __init__(self, process: str = "") -> None:
        """`process`: the name of a child of the supervisor; its lines have its number, too."""
        super().__init__()
        self._process = {"process": process, "pid": os.getpid()} if process else {}

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": _timestamp(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **self._process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        line = _encoded(entry)
        if self._process and record.exc_info and (excess := len(line) + 1 - _MAX_LINE) > 0:
            exception = entry["exception"].encode()[excess * 2 :].decode(errors="ignore")
            line = _encoded({**entry, "exception": f"... {exception}"})
        return line.decode()


class TextFormatter(logging.Formatter):
    """A record for people: time of day, level, message, and what is worth seeing of its fields."""

    _SHOWN = ("error", "batch", "queue_us", "compute_us", "request_id")

    def __init__(self, process: str = "") -> None:
        """`process`: the name of a child of the supervisor."""
        super().__init__()
        self._process = f"{process}: " if process else ""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = getattr(record, "fields", {})
        extra = "".join(f"  {name}={fields[name]}" for name in self._SHOWN if name in fields)
        line = f"{time} {record.levelname:<7} {self._process}{record.getMessage()}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _encoded(entry: dict[str, Any]) -> bytes:
    return msgspec.json.encode(entry, enc_hook=str)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
