"""The request log: one line for each answered request.

Neither headers, nor query strings, nor bodies are ever logged. Other lines of the log are
events (`log_event`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from enginecrate.server.logs.lines import post_line

__all__ = ["log_request"]

_log = logging.getLogger("enginecrate.server.request")
_MAX_PATH = 120


def log_request(
    method: str,
    path: str,
    status: int,
    seconds: float,
    request_id: str,
    trace: tuple[str, str] | None,
    fields: Mapping[str, Any],
) -> None:
    """Log one answered request.

    Inferences and refusals are logged as `info`; health checks, metrics and pages, which come
    every few seconds, as `debug`.
    """
    level = logging.INFO if status >= 400 or "model" in fields else logging.DEBUG
    if not _log.isEnabledFor(level):
        return
    path = path[:_MAX_PATH]
    if not (path.isascii() and path.isprintable() and "\\" not in path):
        path = path.encode("unicode_escape").decode("ascii")
    everything = {
        "request_id": request_id,
        "protocol": "http",
        "status": status,
        "duration_us": round(seconds * 1e6),
        **fields,
    }
    if trace is not None:
        everything["trace_id"], everything["span_id"] = trace
    message = f"{method[:20]} {path} {status} in {seconds * 1e3:.1f} ms"
    post_line(_log, level, message, everything)
