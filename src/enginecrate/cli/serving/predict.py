"""`enginecrate predict`: run the app on photos, here or on a server.

A client of `POST /v1/predict`, for `enginecrate predict --url`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from enginecrate.cli.shared.options import (
    CacheDir,
    Json,
    Project,
    SettingsFile,
    examples,
    read_input,
    resolve,
)
from enginecrate.cli.shared.output import note, print_json, show_progress
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
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Result,
    TensorsResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from enginecrate.pipelines.base import Result
    from enginecrate.settings import Settings

    Predict = Callable[[bytes], Result]


__all__ = ["EXAMPLES", "predict"]

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


EXAMPLES = examples(
    "enginecrate predict photo.jpg",
    "enginecrate predict photo.jpg --annotate boxes.png",
    "enginecrate predict *.jpg --json",
    "enginecrate predict photo.jpg --url http://localhost:8000",
)


def predict(
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO", help="JPEG, PNG, WebP or BMP; .npz for task tensors"),
    ],
    url: Annotated[
        str | None,
        typer.Option("--url", help="Ask this running server; no project is needed then"),
    ] = None,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", metavar="OUT.png", help="Draw the result on the photo"),
    ] = None,
    project: Project = Path(),
    settings_file: SettingsFile = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Run the app on photos and print what it sees."""
    if annotate is not None and len(photos) > 1:
        raise UsageError("--annotate draws one photo; give only one, or leave --annotate out")
    from enginecrate.cli.shared.results import result_as_dict, show_results

    settings = resolve(settings_file, cache_dir=cache_dir)
    payloads = [(photo, read_input(photo)) for photo in photos]
    with _predictor(project, url, settings) as run:
        results = [(str(photo), run(payload)) for photo, payload in payloads]
    if annotate is not None:
        _draw(payloads[0][1], results[0][1], annotate, settings)
    if as_json:
        print_json({"results": [result_as_dict(name, result) for name, result in results]})
    else:
        show_results(results)


def _predictor(
    project: Path, url: str | None, settings: Settings
) -> AbstractContextManager[Predict]:
    if url is None:
        return _local(project, settings)

    return remote_predictor(url, timeout=settings.request_timeout_seconds)


@contextmanager
def _local(project: Path, settings: Settings) -> Iterator[Predict]:
    from enginecrate.builder.ladder.predictor import open_predictor

    with show_progress() as progress:
        predictor = open_predictor(project, settings, progress)
    try:
        yield predictor.predict
    finally:
        predictor.close()


def _draw(payload: bytes, result: Result, out: Path, settings: Settings) -> None:
    from enginecrate.pipelines.annotation.annotate import annotate
    from enginecrate.pipelines.base import Limits

    limits = Limits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_image_pixels)
    picture = annotate(payload, result, limits)
    try:
        out.write_bytes(picture)
    except OSError as exc:
        raise UsageError(f"cannot write {out}: {exc.strerror}; choose another file") from exc
    note(f"annotated picture: {out}")
