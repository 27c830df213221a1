"""The photos of a project are split: some calibrate, and others examine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from enginecrate.builder.golden.samples import GoldenSample, load_golden
from enginecrate.builder.project.photos import (
    Photo,
    PhotoSet,
    find_photos,
    hold_out,
    read_photos,
    spread,
)
from enginecrate.builder.project.project import Project
from enginecrate.errors import CalibrationInvalid, EvaluationInvalid
from enginecrate.values import Digest, Progress, no_progress

__all__ = ["ProjectPhotos", "find_project_photos"]

_MOST_EXAMINED = 500
_MOST_CAST = 64
"""A graph without quantisation differs by rounding alone: few photos show whether it is sound."""


@dataclass(frozen=True)
class ProjectPhotos:
    """The photos of a project, found but not decoded.

    calibration: to choose scales with. examined: held out; they measure accuracy.
    golden: the golden samples, which measure it, too.
    skipped: files that cannot be used, with the reason.
    """

    calibration: tuple[Photo, ...]
    examined: tuple[Photo, ...]
    golden: tuple[GoldenSample, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digests(self) -> dict[str, list[str]]:
        """The digests of all of them, whatever their names."""
        return {
            "calibration": sorted(photo.digest for photo in self.calibration),
            "examined": sorted(photo.digest for photo in self.examined),
            "golden": sorted(str(Digest.of(one.payload)) for one in self.golden),
        }

    def few(self) -> ProjectPhotos:
        """With as many examined photos as a graph without quantisation needs."""
        return ProjectPhotos(self.calibration, spread(self.examined, _MOST_CAST), self.golden)


def find_project_photos(project: Project, progress: Progress = no_progress) -> ProjectPhotos:
    """Find the photos of a project, and split them.

    With `precision.accuracy.images` those photos examine, except for any that calibration has as
    well; without it a fifth of the calibration photos is held out. Copies of one photo stay on
    one side.

    Raises:
        CalibrationInvalid: the folder of calibration photos cannot be used.
        EvaluationInvalid: the folder of photos for the accuracy check cannot be used.
    """
    section = project.manifest.precision
    golden = tuple(load_golden(project.golden))
    calibration: tuple[Photo, ...] = ()
    examined: tuple[Photo, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    if section.calibration is not None:
        photo_set = read_photos(
            project.root / section.calibration.images, project.pipeline, progress
        )
        calibration, skipped = photo_set.photos, photo_set.skipped
    if section.accuracy.images is not None:
        examined = _others(_examined_photos(project, section.accuracy.images), calibration)
    elif len(calibration) > 1:
        calibration, examined = hold_out(calibration)
    return ProjectPhotos(calibration, spread(examined, _MOST_EXAMINED), golden, skipped)


def _examined_photos(project: Project, folder: str) -> PhotoSet:
    try:
        return find_photos(project.root / folder, project.pipeline.task)
    except CalibrationInvalid as exc:
        raise EvaluationInvalid(f"precision.accuracy.images: {exc}") from exc


def _others(candidates: PhotoSet, calibration: Sequence[Photo]) -> tuple[Photo, ...]:
    used = {photo.group for photo in calibration}
    others = tuple(photo for photo in candidates.photos if photo.group not in used)
    if not others:
        raise EvaluationInvalid(
            f"precision.accuracy.images: all {len(candidates.photos)} photos are calibration "
            "photos, too; accuracy is measured with others: add some, or remove the key to hold "
            "out a fifth of the calibration photos"
        )
    return others
