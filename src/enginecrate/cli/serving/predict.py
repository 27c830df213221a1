"""`enginecrate predict`: run the app on photos, here or on a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import (
    Json,
    Project,
    SettingsSources,
    examples,
    read_input,
    with_groups,
)
from enginecrate.cli.shared.output import note, print_json, show_progress
from enginecrate.errors import SystemRefused, UsageError

if TYPE_CHECKING:
    from enginecrate.pipelines.base import Result
    from enginecrate.settings import Settings

    Predict = Callable[[bytes], Result]

__all__ = ["EXAMPLES", "predict"]

EXAMPLES = examples(
    "enginecrate predict photo.jpg",
    "enginecrate predict photo.jpg --annotate boxes.png",
    "enginecrate predict *.jpg --json",
    "enginecrate predict photo.jpg --url http://localhost:8000",
)


@with_groups
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
    *,
    sources: SettingsSources,
    as_json: Json = False,
) -> None:
    """Run the app on photos and print what it sees."""
    if annotate is not None and len(photos) > 1:
        raise UsageError("--annotate draws one photo; give only one, or leave --annotate out")
    from enginecrate.cli.shared.results import result_as_dict, show_results

    settings = sources.load()
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
    from enginecrate.cli.serving.server_client import remote_predictor

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
    from enginecrate.pipelines.annotate import annotate
    from enginecrate.pipelines.base import Limits

    limits = Limits(max_bytes=settings.max_body_bytes, max_pixels=settings.max_image_pixels)
    picture = annotate(payload, result, limits)
    try:
        out.write_bytes(picture)
    except OSError as exc:
        raise SystemRefused(f"cannot write {out}: {exc.strerror}; choose another file") from exc
    note(f"annotated picture: {out}")
