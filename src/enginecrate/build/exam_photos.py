"""The photos that every plan is examined with."""

from __future__ import annotations

from enginecrate.build.photos import Photo
from enginecrate.build.project import Project
from enginecrate.build.project_photos import find_project_photos
from enginecrate.values import Progress, no_progress

__all__ = ["exam_photos"]


def exam_photos(project: Project, progress: Progress = no_progress) -> tuple[Photo, ...]:
    """The held-out photos of a project, none of them used for calibration; may be none.

    Raises:
        CalibrationInvalid, EvaluationInvalid: a folder of photos cannot be used.
    """
    return find_project_photos(project, progress).examined
