"""Log files of limited size: `enginecrate.log`, and older ones `.1`, `.2` ...

Each line is written at once, so that a crash loses nothing. A folder that cannot be written, or a
full disk, never ends the server: its log says so once in its own stream, and writing is tried again
with every line.
"""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from enginecrate.settings import Settings
from enginecrate.stacks.machine.mounts import find_mount

__all__ = ["FILE_NAME", "LogFile", "log_folder"]

FILE_NAME = "enginecrate.log"
_DEFAULT_FOLDER = Path("/var/log/enginecrate")


def log_folder(settings: Settings, default: Path = _DEFAULT_FOLDER) -> Path | None:
    """The folder of log files; `None`: there are none.

    Without a setting it is `/var/log/enginecrate`, if that is a mount of its own.
    """
    if settings.log_dir:
        return Path(settings.log_dir)
    mount = find_mount(default)
    return default if mount is not None and mount.point == default else None


class LogFile(logging.handlers.RotatingFileHandler):
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
        """Write a record; an error is logged, and not raised."""
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

    def write_line(self, line: str) -> None:
        """Write a line that another process has formatted."""
        self.handle(logging.makeLogRecord({"line": line}))

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: str | None = getattr(record, "line", None)
        return super().format(record) if line is None else line

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
        report = logging.LogRecord(__name__, logging.ERROR, __file__, 0, words, None, None)
        self._stream.handle(report)
