"""The forms of a log line: JSON for machines, text for people."""

from __future__ import annotations

import datetime
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["LINE_BYTES", "JsonFormatter", "TextFormatter"]

LINE_BYTES = 4096
"""Longer pieces of several processes may mix in one pipe: pipe(7), PIPE_BUF."""

_LEVELS = {level: logging.getLevelName(level).lower() for level in range(0, 60, 10)}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; a traceback goes into the field `exception`."""

    def __init__(self, process: str = "") -> None:
        """`process`: the name of a child of the supervisor; its lines have its number, too.

        Such a line is short enough for a pipe that several processes share: what is too long in it
        is cut.
        """
        super().__init__()
        self._process = {"process": process, "pid": os.getpid()} if process else {}
        self._encode = msgspec.json.Encoder(enc_hook=str).encode
        self._second = -1
        self._prefix = ""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        line = self.line(record.created, record.levelno, record.name, record.getMessage(), fields)
        return line.decode()

    def line(
        self, created: float, level: int, logger: str, message: str, fields: Mapping[str, Any]
    ) -> bytes:
        """A line, without its end.

        Args:
            created: seconds since 1970.
            level: as the standard library's.
            logger: its name.
            message: in words.
            fields: more of the line.
        """
        entry = {
            "timestamp": self._timestamp(created),
            "level": _LEVELS.get(level) or logging.getLevelName(level).lower(),
            "message": message,
            "logger": logger,
            **self._process,
            **fields,
        }
        line = self._encode(entry)
        return line if len(line) < LINE_BYTES or not self._process else self._shortened(entry)

    def _shortened(self, entry: dict[str, Any]) -> bytes:
        """A line whose longest text is cut: of a traceback the beginning, else the end."""
        while len(line := self._encode(entry)) >= LINE_BYTES:
            texts = {name: text for name, text in entry.items() if isinstance(text, str)}
            name = max(texts, key=lambda each: len(texts[each]))
            text = texts[name]
            if len(text) < 100:  # countless fields
                return line
            rest = len(text) // 2
            entry[name] = f"... {text[-rest:]}" if name == "exception" else f"{text[:rest]} ..."
        return line

    def _timestamp(self, created: float) -> str:
        """RFC 3339 in UTC. Many lines share a second."""
        second = int(created)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._prefix}.{int((created - second) * 1000):03d}Z"


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
