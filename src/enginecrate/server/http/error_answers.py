"""From an error's kind to an HTTP status, and from an error to the answer that a client sees."""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import Literal

import msgspec

from enginecrate.errors import (
    BodyTooSlow,
    EnginecrateError,
    ImageFormatUnsupported,
    Kind,
    MediaTypeUnsupported,
    MemoryLacking,
    PipelineModuleInvalid,
)
from enginecrate.server.http.messages import Headers, Response, json_response

__all__ = [
    "HTTP_STATUS",
    "Api",
    "api_of",
    "error_response",
    "forget_frames",
    "http_status",
    "plain_answer",
]

Api = Literal["v1", "v2"]
"""The format of an error: `v2` answers `{"error": ...}`, everything else problem JSON."""

HTTP_STATUS: dict[Kind, dict[Api, int]] = {
    "invalid": {"v1": 400, "v2": 400},
    "not_found": {"v1": 404, "v2": 404},
    "not_allowed": {"v1": 405, "v2": 405},
    "incomplete": {"v1": 500, "v2": 500},
    "too_large": {"v1": 413, "v2": 413},
    "unsupported": {"v1": 400, "v2": 501},
    "unavailable": {"v1": 503, "v2": 503},
    "overloaded": {"v1": 429, "v2": 429},
    "timeout": {"v1": 504, "v2": 503},
    "conflict": {"v1": 409, "v2": 400},
    "failed": {"v1": 500, "v2": 500},
    "internal": {"v1": 500, "v2": 500},
}
"""v2 follows Triton's mapping (src/http_server.cc, `EVRespondIfError`), with 405, 413 and 429 where
Triton has no status of its own."""

_BY_CLASS: dict[type[EnginecrateError], int] = {
    BodyTooSlow: 408,
    ImageFormatUnsupported: 415,
    MediaTypeUnsupported: 415,
    PipelineModuleInvalid: 500,
}
"""Statuses where HTTP is more exact than the kind is."""

_RETRY: dict[int, Headers] = {429: (("retry-after", "1"),), 503: (("retry-after", "1"),)}

_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}

_log = logging.getLogger(__name__)


def api_of(path: str) -> Api:
    """The API that a path belongs to."""
    return "v2" if path == "/v2" or path.startswith("/v2/") else "v1"


def http_status(error: BaseException, api: Api) -> int:
    """The HTTP status that an error is answered with; 500 for what is not in our tree."""
    if not isinstance(error, EnginecrateError):
        return 500
    for kind, status in _BY_CLASS.items():
        if isinstance(error, kind):
            return status
    return HTTP_STATUS[error.kind][api]


def error_response(error: BaseException, api: Api, request_id: str) -> Response:
    """The answer for an error. The log alone tells of our own faults.

    The format is `{"error": ...}` on v2, else problem details (RFC 9457).
    """
    if isinstance(error, MemoryError):
        error = MemoryLacking(
            "there was not enough memory for this request, which may be right; try again after a "
            "moment, or send less at once"
        )
    status = http_status(error, api)
    code = error.code if isinstance(error, EnginecrateError) else EnginecrateError.code
    if status == 500:
        _log.error("request %s failed", request_id, exc_info=error)
        detail = (
            "the server failed while it worked on this request; its log tells why, "
            f"under request id {request_id}"
        )
    else:
        detail = str(error)
    headers = _RETRY.get(status, ())
    log = {"error": detail, "code": code}
    if api == "v2":
        return json_response({"error": detail}, status, headers, log)
    problem = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    answer = json_response(problem, status, headers, log)
    answer.headers = (("content-type", "application/problem+json"), *headers)
    return answer


def plain_answer(status: int, detail: str) -> bytes:
    """An answer in both formats at once, since the path is not known."""
    title = _PHRASES[status]
    problem: Mapping[str, object] = {
        "type": "about:blank",
        "title": title.decode(),
        "status": status,
        "detail": detail,
        "error": detail,
    }
    body = msgspec.json.encode(problem)
    head = (
        b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\n"
        b"content-length: %d\r\nconnection: close\r\n\r\n"
    ) % (status, title, len(body))
    return head + body


def forget_frames(error: BaseException | None) -> None:
    """Let go of what the frames of a traceback hold: bodies, until the garbage collector's turn."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
