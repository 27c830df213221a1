"""The logging configuration: one JSON object a line, or text for people on a terminal.

Importing configures nothing; the entry point calls `configure_logs`.
"""

from __future__ import annotations

import datetime
import logging
import sys
from typing import TextIO

import msgspec

from enginecrate.server.logs.files import LogFile, log_folder
from enginecrate.settings import Settings

__all__ = ["JsonFormatter", "TextFormatter", "configure_logs"]


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log record of this process to a stream, and to log files where there are any.

    Args:
        settings: everything that begins with `log_`.
        stream: default: by the setting `log_stream`.
    """
    if stream is None:
        stream = sys.stdout if settings.log_stream == "stdout" else sys.stderr
    form = settings.log_format
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if form == "text" else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    folder = log_folder(settings)
    if folder is not None:
        file = LogFile(folder, handler, settings)
        file.setFormatter(JsonFormatter())
        root.addHandler(file)
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; a traceback goes into the field `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "timestamp": _timestamp(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """A record for people: time of day, level, message, and what is worth seeing of its fields."""

    _SHOWN = ("error", "batch", "queue_us", "compute_us", "request_id")

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        fields = getattr(record, "fields", {})
        extra = "".join(f"  {name}={fields[name]}" for name in self._SHOWN if name in fields)
        line = f"{time} {record.levelname:<7} {record.getMessage()}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
