"""True top-1 accuracy: photos in one folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.builder.project.photos import Photo, find_photos
from enginecrate.errors import CalibrationInvalid, EvaluationInvalid, nearest
from enginecrate.pipelines.base import ClassificationResult, Result

__all__ = ["ClassTruth", "is_right", "read_class_folders"]


@dataclass(frozen=True, slots=True)
class ClassTruth:
    """A photo and the class that it shows."""

    photo: Photo
    class_id: int


def read_class_folders(folder: Path, labels: Sequence[str]) -> list[ClassTruth]:
    """Find the photos; each folder has the name of a label, or the number of a class.

    Args:
        folder: with one folder for each class; classes may be left out.
        labels: the app's class names; may be empty, then folders have numbers.

    Raises:
        EvaluationInvalid: the folder holds no photos, photos outside of a class, or a class that
            the model does not know.
    """
    try:
        photos = find_photos(folder, "classification").photos
    except CalibrationInvalid as exc:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {folder} must hold one folder of photos for each class"
        ) from exc
    loose = [photo.name for photo in photos if "/" not in photo.name]
    if loose:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {', '.join(loose[:3])} in {folder} is in no class; move "
            "each photo into a folder that has the name of its class"
        )
    names = dict.fromkeys(photo.name.split("/")[0] for photo in photos)
    classes = {name: _class_of(name, labels) for name in names}
    unknown = [name for name, number in classes.items() if number is None]
    if unknown:
        listed = ", ".join(repr(name) for name in unknown[:5])
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {folder} has folders for {len(unknown)} classes that "
            f"the app does not know: {listed}{nearest(unknown[0], labels)}; a folder has the "
            "name of a label in [pipeline] labels, or the number of a class"
        )
    return [ClassTruth(photo, classes[photo.name.split("/")[0]] or 0) for photo in photos]


def is_right(truth: ClassTruth, result: Result | None) -> bool:
    """True when the best class is the true one."""
    if not isinstance(result, ClassificationResult) or not result.classes:
        return False
    return result.classes[0].class_id == truth.class_id


def _class_of(name: str, labels: Sequence[str]) -> int | None:
    if name in labels:
        return list(labels).index(name)
    if name.isascii() and name.isdigit() and (not labels or int(name) < len(labels)):
        return int(name)
    return None
