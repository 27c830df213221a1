"""A client of a running server: photos go to `POST /v1/predict`, results come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from enginecrate.errors import (
    BodyTooLarge,
    EnginecrateError,
    ModelNotReady,
    QueueFull,
    RequestInvalid,
    RequestTimeout,
    RouteUnknown,
    ServerUnreachable,
    UsageError,
)
from enginecrate.http_client import (
    Client,
    ExchangeFailed,
    ExchangeTimeout,
    Response,
    Timeouts,
    Url,
    UrlInvalid,
)
from enginecrate.pipelines.base import ClassificationResult, DetectionResult, Result, TensorsResult

__all__ = ["remote_predictor"]

_CONNECT_SECONDS = 5.0

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG", "image/png"),
    (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"),
)

_REFUSALS: dict[int, type[EnginecrateError]] = {
    404: RouteUnknown,
    408: RequestTimeout,
    413: BodyTooLarge,
    429: QueueFull,
    503: ModelNotReady,
    504: RequestTimeout,
}


@contextmanager
def remote_predictor(url: str, *, timeout: float) -> Iterator[Callable[[bytes], Result]]:
    """A function that sends one photo to a server and gives the result.

    It raises `ServerUnreachable` when no usable answer comes back, and the error that fits the
    HTTP status when the server refuses.

    Args:
        url: the server's root, for example `http://localhost:8000`.
        timeout: seconds to wait for an answer.

    Raises:
        UsageError: not an HTTP URL.
    """
    root = url.rstrip("/").removesuffix("/v1/predict")
    try:
        parsed = Url(root)
    except UrlInvalid as exc:
        raise UsageError(f"--url {url}: {exc}; for example http://localhost:8000") from exc
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"--url {url} is no HTTP address; for example http://localhost:8000")
    limits = Timeouts(connect=_CONNECT_SECONDS, read=timeout, write=timeout, pool=timeout)
    # A proxy from the environment cannot reach this machine's own loopback address.
    loopback = parsed.host in ("localhost", "127.0.0.1", "::1")
    with Client(limits, environment=not loopback) as client:
        yield lambda payload: _ask(client, f"{root}/v1/predict", payload)


def _ask(client: Client, address: str, payload: bytes) -> Result:
    headers = {"content-type": _content_type(payload), "accept": "application/json"}
    try:
        with client.send("POST", Url(address), headers=headers, content=payload) as answer:
            body = answer.read()
    except ExchangeTimeout as exc:
        raise RequestTimeout(f"{address} does not answer in time; is it overloaded?") from exc
    except ExchangeFailed as exc:
        raise ServerUnreachable(
            f"cannot reach {address}: {exc}; start the server with: enginecrate serve"
        ) from exc
    if answer.status != 200:
        raise _refusal(answer, body, address)
    try:
        (result,) = msgspec.json.decode(body)["results"]
        return _as_result(result)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as exc:
        raise ServerUnreachable(
            f"{address} answers something else than a result; is it an enginecrate server?"
        ) from exc


def _as_result(value: dict[str, Any]) -> Result:
    """The result by the key that only its kind has."""
    kinds: dict[str, type[Result]] = {
        "detections": DetectionResult,
        "classes": ClassificationResult,
        "outputs": TensorsResult,
    }
    for key, kind in kinds.items():
        if key in value:
            return msgspec.convert(value, kind)
    raise ValueError("no known result")


def _content_type(payload: bytes) -> str:
    for signature, name in _SIGNATURES:
        if payload.startswith(signature):
            return name
    return "application/octet-stream"


def _refusal(answer: Response, body: bytes, address: str) -> EnginecrateError:
    """The server's own words (RFC 9457, member `detail`) under the error that fits its status."""
    try:
        words = str(msgspec.json.decode(body)["detail"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        words = answer.reason
    default = RequestInvalid if 400 <= answer.status < 500 else ServerUnreachable
    kind = _REFUSALS.get(answer.status, default)
    return kind(f"{address} refuses with {answer.status}: {words}")
