"""Messages of TensorRT: kept, and never printed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import tensorrt as trt

    from enginecrate.engines.tensorrt.bindings import Api

__all__ = ["Messages", "make_logger", "plain"]

_SOURCE = re.compile(
    r"^\[?\w+\.(?:cpp|h)::?[^\]\s]*\]?:?\s*|^I\w+::\w+: |\s*\(?In \w+ at /_src/[^)]*\)?"
)
_CODE = re.compile(r"^Error Code \d+: ")
# A machine without a driver: the builder asks for the GPU, is refused, and goes on.
_NO_DRIVER = re.compile(r"cudaError 35|CUDA initialization failure with error: 35")
_KEPT = 200


class Messages(Protocol):
    """A logger that remembers.

    errors, notes: what it was told, in order; harmless complaints are left out.
    """

    errors: list[str]
    notes: list[str]


def make_logger(api: Api) -> trt.ILogger:
    """A logger for this module that keeps errors and the lines about memory. A `Messages`, too."""
    severity = api.ILogger.Severity
    base: Any = api.ILogger

    class Recorder(base):  # type: ignore[misc]  # the base is known when it runs
        def __init__(self) -> None:
            base.__init__(self)
            self.errors: list[str] = []
            self.notes: list[str] = []

        def log(self, level: trt.ILogger.Severity, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                if not _NO_DRIVER.search(message):
                    _keep(self.errors, message)
            elif level == severity.INFO and message.startswith(("Total ", "Max Scratch")):
                _keep(self.notes, message)

    recorder: trt.ILogger = Recorder()
    return recorder


def plain(message: str) -> str:
    """A message without the places in TensorRT's own sources, in one line."""
    text = " ".join(message.split())
    while (shorter := _CODE.sub("", _SOURCE.sub("", text)).strip()) != text:
        text = shorter
    return text


def _keep(lines: list[str], message: str) -> None:
    if message not in lines and len(lines) < _KEPT:
        lines.append(message)
