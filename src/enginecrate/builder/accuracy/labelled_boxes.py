"""True mean average precision: a COCO JSON file beside its images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from enginecrate.builder.accuracy.figures import Figure
from enginecrate.errors import EvaluationInvalid, MissingExtra, nearest
from enginecrate.files.encoding import utf8
from enginecrate.pipelines.base import DetectionResult, Result

__all__ = ["BoxTruth", "mean_average_precision", "read_coco"]

_ROUNDS = 100
_SEED = 20240613


class _Image(msgspec.Struct):
    id: int
    file_name: str


class _Category(msgspec.Struct):
    id: int
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class BoxTruth:
    """The boxes that photos really show.

    files: the photos by their number in the file. categories: the file's number of each class.
    document: the file itself, for pycocotools.
    """

    files: Mapping[int, Path]
    categories: Mapping[int, int]
    document: dict[str, Any]


def read_coco(path: Path, labels: Sequence[str]) -> BoxTruth:
    """Read a file in COCO's format (cocodataset.org, "Data format", object detection).

    Args:
        path: of the JSON file; images are found from its folder.
        labels: the app's class names; categories are matched by name. Without labels a
            category's number is the class's.

    Raises:
        EvaluationInvalid: it is no such file, an image is missing, or a category is unknown.
    """
    try:
        data = utf8(path.read_bytes())
        file = msgspec.json.decode(data, type=_File)
        document = msgspec.json.decode(data)
    except OSError as exc:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: cannot read {path}: {exc.strerror}"
        ) from exc
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {path} is not a COCO file of boxes: {exc}"
        ) from exc
    files = {image.id: path.parent / image.file_name for image in file.images}
    missing = [one.name for one in files.values() if not one.is_file()]
    if missing or not files:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {path} names {len(files)} images, and {len(missing)} "
            f"are not beside it ({', '.join(missing[:3])}); copy them there"
        )
    return BoxTruth(files, _categories(file, labels, path), document)


def mean_average_precision(
    truth: BoxTruth, results: Mapping[int, Result | None], name: str
) -> Figure:
    """MAP over IoU 0.50 to 0.95, as COCO defines it, computed by pycocotools.

    The boxes are those that the app answers: its own score threshold cuts the curve's end off. The
    interval is a bootstrap over images.

    Args:
        truth: what the photos show.
        results: the app's, by the image's number; `None` where there is none.
        name: of the figure.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    evaluation = _evaluated(truth, _boxes(truth, results))
    count = len(truth.files)
    if evaluation is None:
        return Figure(name=name, value=0.0, n=count, unit="photos")
    value = _average(evaluation)
    drawn = np.random.default_rng(_SEED).integers(0, count, (_ROUNDS, count))
    whole = list(evaluation.evalImgs)
    again = [_average(evaluation, _redrawn(whole, count, rows)) for rows in drawn]
    low, high = np.percentile(again, [2.5, 97.5])
    return Figure(
        name=name,
        value=round(value, 4),
        n=count,
        unit="photos",
        low=round(float(low), 4),
        high=round(float(high), 4),
        method="bootstrap",
    )


def _categories(file: _File, labels: Sequence[str], path: Path) -> dict[int, int]:
    """From the app's class number to the file's category."""
    if not labels:
        return {category.id: category.id for category in file.categories}
    unknown = [one.name for one in file.categories if one.name not in labels]
    if unknown:
        raise EvaluationInvalid(
            f"precision.accuracy.labelled: {path} has {len(unknown)} categories that the app does "
            f"not know: {', '.join(map(repr, unknown[:5]))}{nearest(unknown[0], labels)}; rename "
            "them to the names in [pipeline] labels, or leave them out"
        )
    return {list(labels).index(one.name): one.id for one in file.categories}


def _boxes(truth: BoxTruth, results: Mapping[int, Result | None]) -> list[dict[str, Any]]:
    boxes = []
    for image, result in results.items():
        if not isinstance(result, DetectionResult):
            continue
        for detection in result.detections:
            category = truth.categories.get(detection.class_id)
            if category is None:
                continue
            x1, y1, x2, y2 = detection.box
            box = [x1, y1, x2 - x1, y2 - y1]
            boxes.append(
                {"image_id": image, "category_id": category, "bbox": box, "score": detection.score}
            )
    return boxes


def require_coco() -> None:
    """Check that mAP can be computed. Raises `MissingExtra`."""
    try:
        import pycocotools.cocoeval  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ImportError as exc:
        raise MissingExtra("pycocotools", extra="accuracy") from exc


def _evaluated(truth: BoxTruth, boxes: list[dict[str, Any]]) -> Any:
    """Pycocotools' evaluation of every image; `None` without any box."""
    require_coco()
    from pycocotools.coco import COCO  # type: ignore[import-untyped,unused-ignore]
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped,unused-ignore]

    if not boxes:
        return None
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress
        known = COCO()
        known.dataset = _complete(truth.document)
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(boxes), "bbox")
        evaluation.params.areaRng = evaluation.params.areaRng[:1]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    return evaluation


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """With the keys that pycocotools wants and many files lack."""
    annotations = [
        {
            "id": number,
            "iscrowd": 0,
            "area": annotation["bbox"][2] * annotation["bbox"][3],
            **annotation,
        }
        for number, annotation in enumerate(document["annotations"], 1)
    ]
    return {"info": {}, "licenses": [], **document, "annotations": annotations}


def _redrawn(whole: list[Any], count: int, rows: Any) -> list[Any]:
    """The evaluations of drawn images: pycocotools keeps a list by category, then image."""
    return [whole[start + row] for start in range(0, len(whole), count) for row in rows]


def _average(evaluation: Any, images: list[Any] | None = None) -> float:
    if images is not None:
        evaluation.evalImgs = images
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0
