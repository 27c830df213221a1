"""Calibration of one model on one set of photos: out of the cache, or made and put there."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.builder.project.photos import Photo, augment, photos_digest, spread
from enginecrate.builder.project.project import Project
from enginecrate.builder.quantization.calibration.passes import Passes
from enginecrate.builder.quantization.calibration.pipeline_digest import pipeline_digest
from enginecrate.builder.quantization.calibration.table import (
    CalibrationTable,
    Method,
    StateFile,
    TableKey,
    load_table,
)
from enginecrate.errors import CalibrationInvalid
from enginecrate.files.disk_errors import write_refused
from enginecrate.files.private_folder import make_ours, write_ours
from enginecrate.graph.onnx.model import OnnxModel, graph_digest
from enginecrate.graph.quantize.quantize import quantizable
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.typed import Scheme
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["FEW_PHOTOS", "RECOMMENDED_PHOTOS", "ObtainedTable", "calibrate", "obtain_table"]

FEW_PHOTOS = 100
"""Fewer than this bring a warning, and copies up to this number: with n photos the largest of
them stands for the top 1/n of all values, so below 100 even the 99th percentile is a guess."""

RECOMMENDED_PHOTOS = 500
"""TensorRT documentation, section "Post-Training Quantization Using Calibration": about 500 images
are sufficient for ImageNet classification networks."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObtainedTable:
    """A table and where it lies.

    reused: nothing had to be computed.
    warning: that there are too few photos; else empty.
    """

    table: CalibrationTable
    path: Path
    reused: bool
    warning: str = ""


def calibrate(
    project: Project,
    model: OnnxModel,
    photos: Sequence[Photo],
    *,
    method: Method = "minmax",
    percentile: float = 99.99,
    max_photos: int = 1000,
    settings: Settings,
    progress: Progress = no_progress,
) -> CalibrationTable:
    """As `obtain_table`; gives the table alone, and logs the warning."""
    obtained = obtain_table(
        project,
        model,
        photos,
        method=method,
        percentile=percentile,
        max_photos=max_photos,
        settings=settings,
        progress=progress,
    )
    if obtained.warning and not obtained.reused:  # one build asks for the table several times
        _log.warning("%s", obtained.warning)
    return obtained.table


def obtain_table(
    project: Project,
    model: OnnxModel,
    photos: Sequence[Photo],
    *,
    method: Method = "minmax",
    percentile: float = 99.99,
    max_photos: int = 1000,
    settings: Settings,
    progress: Progress = no_progress,
) -> ObtainedTable:
    """Run the FP32 graph on the photos, unless the cache has the table already.

    What was computed is written down as it goes: a run that was interrupted goes on, and ends
    with the same bytes. Memory does not grow with the number of photos.

    Args:
        project: for its pipeline.
        model: its model after `simplify`.
        photos: that the pipeline takes; none of those that accuracy is measured with.
        method: how ranges are chosen.
        percentile: for this method, the share of values to cover, in %.
        max_photos: that are used; they are chosen evenly.
        settings: for the cache folder.
        progress: told about each photo.

    Raises:
        CalibrationInvalid: no photo, a photo that changed, or an activation that is NaN or
            infinite.
        CacheUnusable: the cache folder cannot be used.
        EngineError: onnxruntime refuses the model, or fails.
    """
    chosen, warning = _choose(photos, max_photos)
    key = TableKey(
        model=str(project.model.source_digest),
        graph=str(graph_digest(model)),
        pipeline=str(pipeline_digest(project)),
        photos=str(photos_digest(chosen)),
        method=method,
        percentile=percentile if method == "percentile" else 0.0,
    )
    folder = settings.cache_path / "calibration"
    path = folder / f"{key.digest.hex}.json"
    table = _cached(path, key)
    if table is not None:
        return ObtainedTable(table, path, reused=True, warning=warning)
    _prepare(folder)
    state = StateFile(path.with_suffix(".state"))
    table = _make(key, model, chosen, Passes(project.pipeline, model, chosen, state, progress))
    write_ours(path, table.encode(), "the calibration table")
    state.remove()
    return ObtainedTable(table, path, reused=False, warning=warning)


def _make(
    key: TableKey, model: OnnxModel, photos: Sequence[Photo], passes: Passes
) -> CalibrationTable:
    needed = quantizable(model, *Scheme)
    seen = passes.extremes(needed)
    chosen = {name: one for name, one in seen.items() if name in needed}
    if key.method == "percentile":
        chosen = passes.percentiles(chosen, key.percentile)
    elif key.method == "entropy":
        chosen = passes.entropies(chosen)
    return CalibrationTable(
        key=key,
        photos=len(photos),
        copies=sum(photo.change is not None for photo in photos),
        chosen={name: (one.low, one.high) for name, one in chosen.items()},
        seen={name: _finite(one) for name, one in seen.items()},
    )


def _finite(seen: Range) -> tuple[float, float] | None:
    finite = math.isfinite(seen.low) and math.isfinite(seen.high)
    return (seen.low, seen.high) if finite else None


def _choose(photos: Sequence[Photo], most: int) -> tuple[tuple[Photo, ...], str]:
    if not photos:
        raise CalibrationInvalid(
            "there are no photos to calibrate with; put some into the folder that the manifest "
            f"names in [precision] calibration: about {RECOMMENDED_PHOTOS} are recommended"
        )
    chosen = spread(photos, most)
    if len(chosen) >= FEW_PHOTOS or most < FEW_PHOTOS:
        return chosen, ""
    filled = augment(chosen, FEW_PHOTOS)
    copies = len(filled) - len(chosen)
    help_ = f"; {copies} changed copies of them are used, too" if copies else ""
    plural = "" if len(chosen) == 1 else "s"
    return filled, (
        f"{len(chosen)} photo{plural} to calibrate with are few{help_}; INT8 ranges are more "
        f"reliable with more of them, at least {FEW_PHOTOS}: about {RECOMMENDED_PHOTOS} are "
        "recommended"
    )


def _cached(path: Path, key: TableKey) -> CalibrationTable | None:
    if not path.is_file():
        return None
    try:
        table = load_table(path)
    except CalibrationInvalid as exc:  # it can be made again
        _log.warning("%s", exc)
        return None
    return table if table.key == key else None


def _prepare(folder: Path) -> None:
    try:
        make_ours(folder)
    except OSError as exc:
        raise write_refused("calibration tables", folder, exc, 0) from exc
