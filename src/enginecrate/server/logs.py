"""The logging configuration of the server, and its log files.

A log line is one JSON object, or text for people on a terminal. Importing configures nothing; the
entry point calls `configure_logs`. `http/request_log.py` writes the line of a request.

Log files have a limited size: `enginecrate.log`, and older ones `.1`, `.2` ... Each line is written
at once, so that a crash loses nothing. A folder that cannot be written, or a full disk, never ends
the server: its log says so once in its own stream, and writing is tried again with every line.
"""

from __future__ import annotations

import datetime
import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any, TextIO

import msgspec

from enginecrate.settings import Settings
from enginecrate.stacks.machine.mounts import find_mount

__all__ = [
    "FILE_NAME",
    "JsonFormatter",
    "TextFormatter",
    "configure_logs",
    "log_event",
    "log_folder",
]

FILE_NAME = "enginecrate.log"
_DEFAULT_FOLDER = Path("/var/log/enginecrate")


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
        file = _LogFile(folder, handler, settings)
        file.setFormatter(JsonFormatter())
        root.addHandler(file)
    root.setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def log_event(
    logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: Any
) -> None:
    """Log a message with fields of its own."""
    if logger.isEnabledFor(level):
        logger.log(level, message, extra={"fields": fields})


def log_folder(settings: Settings, default: Path = _DEFAULT_FOLDER) -> Path | None:
    """The folder of log files; `None`: there are none.

    Without a setting it is `/var/log/enginecrate`, if that is a mount of its own.
    """
    if settings.log_dir:
        return Path(settings.log_dir)
    mount = find_mount(default)
    return default if mount is not None and mount.point == default else None


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


class _LogFile(logging.handlers.RotatingFileHandler):
    """Writes records to a file, and starts a new one when it is full."""

    def __init__(self, folder: Path, stream: logging.Handler, settings: Settings) -> None:
        """Nothing is opened before the first record.

        Args:
            folder: created if it is missing.
            stream: takes the record that says what is wrong with the file.
            settings: `log_file_bytes` and `log_files`.
        """
        self._folder = folder
        self._stream = stream
        self._failed = ""
        super().__init__(
            folder / FILE_NAME,
            maxBytes=settings.log_file_bytes,
            backupCount=settings.log_files - 1,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; what goes wrong is told, and not raised."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if self.shouldRollover(record):  # type: ignore[no-untyped-call,unused-ignore]
                self.doRollover()
            if self.stream is None:
                self.stream = self._open()
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
        except OSError as exc:
            self._give_up(exc)
        except Exception:  # a record that cannot be formatted
            self.handleError(record)
        else:
            self._failed = ""

    def _give_up(self, error: OSError) -> None:
        """Close the file, whose buffer may still hold what could not be written."""
        broken, self.stream = self.stream, None
        try:
            if broken is not None:
                broken.close()
        except OSError:  # the same again: closing flushes
            pass
        reason = error.strerror or str(error)
        if reason == self._failed:
            return
        self._failed = reason
        words = (
            f"cannot write the log file {self.baseFilename}: {reason}; the log goes on without "
            "it, and it is tried again with every line"
        )
        told = logging.LogRecord(__name__, logging.ERROR, __file__, 0, words, None, None)
        self._stream.handle(told)


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
