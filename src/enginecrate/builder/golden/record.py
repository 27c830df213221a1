"""Write an app's answers down as golden samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from enginecrate.builder.golden.file import (
    GOLDEN_NAME,
    GoldenEntry,
    GoldenFile,
    read_golden_file,
    render_golden_file,
)
from enginecrate.builder.golden.tolerance import Tolerance
from enginecrate.errors import GoldenInvalid, PipelineError, SystemRefused
from enginecrate.files.atomic import write_atomic
from enginecrate.pipelines.base import DetectionResult, Result
from enginecrate.values import Digest

__all__ = ["record_golden"]


def record_golden(
    predict: Callable[[bytes], Result],
    folder: Path,
    photos: Sequence[Path],
    *,
    score_threshold: float | None = None,
) -> list[GoldenEntry]:
    """Run the app on photos, and make its answers the expected ones.

    Nothing is written before every photo has its answer. Photos are copied into the folder first
    and `golden.json` is replaced last, so a kill at any moment leaves the old samples valid. The
    same photo again only renews its answer; tolerances that were edited by hand stay.

    Args:
        predict: the app.
        folder: of the golden samples; made when it is missing.
        photos: the inputs. A photo whose name another photo has already gets a new name.
        score_threshold: of the detection pipeline: see `Tolerance.threshold`.

    Returns:
        Every sample that `golden.json` now holds.

    Raises:
        GoldenInvalid: a photo cannot be read or used.
        SystemRefused: the folder cannot be written.
    """
    payloads = [_read(photo) for photo in photos]
    results = [_answer(predict, *pair) for pair in zip(photos, payloads, strict=True)]
    content = read_golden_file(folder) or GoldenFile()
    entries = {entry.input: entry for entry in content.samples}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for photo, payload, result in zip(photos, payloads, results, strict=True):
            name = _copy_input(folder, photo.name, payload)
            tolerance = _tolerance(result, score_threshold)
            if name in entries:
                tolerance = entries[name].tolerance
            # By way of JSON, as a client gets it: numbers that are not finite become null.
            expected = msgspec.json.decode(msgspec.json.encode(result))
            entries[name] = GoldenEntry(input=name, expected=expected, tolerance=tolerance)
        samples = list(entries.values())
        write_atomic(folder / GOLDEN_NAME, render_golden_file(samples))
    except OSError as exc:
        raise SystemRefused(
            f"cannot write the golden samples to {folder}: {exc.strerror}; correct its permissions"
        ) from exc
    return samples


def _read(photo: Path) -> bytes:
    try:
        return photo.read_bytes()
    except OSError as exc:
        raise GoldenInvalid(f"cannot read {photo}: {exc.strerror}; check the path") from exc


def _answer(predict: Callable[[bytes], Result], photo: Path, payload: bytes) -> Result:
    try:
        return predict(payload)
    except PipelineError as exc:
        raise GoldenInvalid(f"{photo}: {exc}") from exc


def _copy_input(folder: Path, name: str, payload: bytes) -> str:
    """Copy the input into the folder unless it is there; never over another file."""
    given = Path(name)
    names = (name, f"{given.stem}-{Digest.of(payload).short}{given.suffix}")
    for candidate in names:
        path = folder / candidate
        if candidate == GOLDEN_NAME:
            continue
        if not path.exists():
            write_atomic(path, payload)
            return candidate
        if path.read_bytes() == payload:
            return candidate
    raise GoldenInvalid(f"{folder} has other files named {' and '.join(names)}; remove them")


def _tolerance(result: Result, score_threshold: float | None) -> Tolerance:
    if isinstance(result, DetectionResult):
        return Tolerance(threshold=score_threshold)
    return Tolerance()
