"""The numbers of NumPy in a result become Python's, which JSON and golden samples know.

A vendor's class works with arrays: its scores are `np.float32`, its classes `np.int64`, its boxes
arrays. They are welcome; NaN and infinity are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from enginecrate.errors import PipelineModuleInvalid
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    TensorResult,
    TensorsResult,
)

__all__ = ["plain_result"]


def plain_result(result: Any, name: str) -> Any:
    """The same result in plain numbers, texts and lists.

    What is no number at all stays as it is; the contract test names it.

    Args:
        result: of a pipeline's `finish`; another kind of object is given back.
        name: of the pipeline's class, for errors.

    Raises:
        PipelineModuleInvalid: a score or a corner of a box is NaN or infinite.
    """
    match result:
        case DetectionResult():
            return DetectionResult(
                _whole(result.width),
                _whole(result.height),
                [_detection(one, name) for one in _listed(result.detections)],
            )
        case ClassificationResult():
            return ClassificationResult(
                _whole(result.width),
                _whole(result.height),
                [_classification(one, name) for one in _listed(result.classes)],
            )
        case TensorsResult():
            return TensorsResult([_tensor(one) for one in _listed(result.outputs)], result.image)
    return result


def _listed(items: Any) -> Iterable[Any]:
    """A list, from any sequence; what is none has no items that could be converted."""
    return items if isinstance(items, (list, tuple)) else list(items)


def _detection(one: Any, name: str) -> Any:
    if not isinstance(one, Detection):
        return one
    score = _finite(_number(one.score), name, "a detection", "score")
    corners = one.box.reshape(-1) if isinstance(one.box, np.ndarray) else one.box
    box = tuple(_finite(_number(corner), name, "a detection", "box") for corner in corners)
    return Detection(_text(one.label), _whole(one.class_id), score, box)


def _classification(one: Any, name: str) -> Any:
    if not isinstance(one, Classification):
        return one
    score = _finite(_number(one.score), name, "a class", "score")
    return Classification(_text(one.label), _whole(one.class_id), score)


def _tensor(one: Any) -> Any:
    if not isinstance(one, TensorResult):
        return one
    data: Any = one.data
    if isinstance(data, np.ndarray):
        data = data.reshape(-1).tolist()
    elif isinstance(data, (list, tuple)):
        data = [_number(item) for item in data]
    return TensorResult(_text(one.name), _text(one.datatype), [_whole(n) for n in one.shape], data)


def _number(value: Any) -> Any:
    """A number of NumPy, or an array of one, as Python's."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
        return value.item()
    return value


def _whole(value: Any) -> Any:
    """A whole number; a class read out of a float output, such as `np.float32(3)`, is one."""
    plain = _number(value)
    if isinstance(plain, float) and plain is not value and plain.is_integer():
        return int(plain)
    return plain


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, np.str_) else value


def _finite(value: Any, name: str, thing: str, part: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise PipelineModuleInvalid(
            f"the pipeline {name} breaks its contract: finish gave {thing} the {part} {value}, "
            "which JSON cannot hold: check the model's outputs with np.isfinite, and leave such "
            "candidates out"
        )
    return value
