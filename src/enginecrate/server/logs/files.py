"""Log files of limited size: `enginecrate.log`, and older ones `.1`, `.2` ...

Nothing is held back in a buffer, so that a crash loses nothing. A folder that cannot be written,
or a full disk, never ends the server: its log says so once in its own stream, and writing is tried
again with every line.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from enginecrate.server.logs.lines import LineHandler, joined, pieces
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


class LogFile(LineHandler):
    """Writes lines to a file, and starts a new one when it is full."""

    def __init__(self, folder: Path, stream: logging.Handler, settings: Settings) -> None:
        """Nothing is opened before the first line.

        Args:
            folder: created if it is missing.
            stream: takes the record that says what is wrong with the file.
            settings: `log_file_bytes` and `log_files`.
        """
        super().__init__()
        self._path = folder / FILE_NAME
        self._stream = stream
        self._most = settings.log_file_bytes
        self._older = settings.log_files - 1
        self._file: BinaryIO | None = None
        self._size = 0
        self._failed = ""

    def write_line(self, line: str) -> None:
        """Write what another process has formatted: a line, or several."""
        for each in line.encode("utf-8", "backslashreplace").split(b"\n"):
            self.post(each)

    def write(self, lines: Sequence[bytes]) -> None:
        """Write lines; an error is logged, and not raised."""
        try:
            while lines:
                file = self._open()
                piece = next(pieces(lines, self._most - self._size))
                data = joined(piece)
                if self._size and self._size + len(data) > self._most:
                    self._rotate()
                    continue
                file.write(data)
                self._size += len(data)
                lines = lines[len(piece) :]
        except OSError as exc:
            self._give_up(exc)
        else:
            self._failed = ""

    def close(self) -> None:
        super().close()
        self._close()

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
            self._size = self._file.tell()
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _rotate(self) -> None:
        self._close()
        for number in range(self._older, 0, -1):
            newer = self._path if number == 1 else self._numbered(number - 1)
            with contextlib.suppress(FileNotFoundError):
                newer.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{FILE_NAME}.{number}")

    def _give_up(self, error: OSError) -> None:
        self._close()
        reason = error.strerror or str(error)
        if reason == self._failed:
            return
        self._failed = reason
        words = (
            f"cannot write the log file {self._path}: {reason}; the log goes on without "
            "it, and it is tried again with every line"
        )
        report = logging.LogRecord(__name__, logging.ERROR, __file__, 0, words, None, None)
        self._stream.handle(report)
