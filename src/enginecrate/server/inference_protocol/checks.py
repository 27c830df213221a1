"""Checks of a v2 request: they name the tensor, and come before memory is taken for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from enginecrate.errors import RequestInvalid
from enginecrate.server.http.messages import shown
from enginecrate.values import TensorSpec

__all__ = [
    "check_batch",
    "check_fit",
    "fill_in_shape",
    "flag_parameter",
    "refuse_shared_memory",
    "whole_parameter",
]

_LARGEST = 2**63 - 1


def check_fit(where: str, datatype: str, shape: Sequence[int], spec: TensorSpec) -> None:
    """Raise `RequestInvalid` when the model takes another datatype or shape."""
    if datatype != spec.datatype:
        raise RequestInvalid(
            f"{where}: the model takes datatype {spec.datatype}, found {shown(datatype, 20)}"
        )
    fits = len(shape) == len(spec.shape) and all(
        have > 0 if want < 0 else have == want for have, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise RequestInvalid(
            f"{where}: the model takes shape {list(spec.shape)}, where -1 stands for any positive "
            f"size; found {shown(str(shape)).strip(chr(39))}"
        )


def check_batch(where: str, shape: Sequence[int], max_batch: int) -> None:
    """Raise `RequestInvalid` when a batch is larger than the model takes."""
    if max_batch and shape[0] > max_batch:
        raise RequestInvalid(
            f"{where}: a batch of {shape[0]} is too large: the model takes up to {max_batch}; "
            "send several smaller requests"
        )


def refuse_shared_memory(where: str, parameters: Mapping[str, Any]) -> None:
    """Raise `RequestInvalid` when the data is said to lie in shared memory."""
    if "shared_memory_region" in parameters:
        raise RequestInvalid(f"{where}: shared memory is not available; send the data in the body")


def whole_parameter(parameters: Mapping[str, Any], name: str, where: str) -> int:
    """A parameter that is a whole number; 0 when it was not sent. Raises `RequestInvalid`."""
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise RequestInvalid(
            f"{where}: parameter {name} must be a whole number from 0 to 2^63 - 1, "
            f"found {_told(value)}"
        )
    return value


def flag_parameter(parameters: Mapping[str, Any], name: str, where: str, default: bool) -> bool:
    """A parameter that is true or false. Raises `RequestInvalid`."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RequestInvalid(
            f"{where}: parameter {name} must be true or false, found {_told(value)}"
        )
    return value


def fill_in_shape(where: str, shape: list[int], count: int) -> list[int]:
    """The shape with its one dynamic size computed from the number of elements."""
    dynamic = [axis for axis, size in enumerate(shape) if size < 0]
    if len(dynamic) > 1:
        raise RequestInvalid(
            f"{where} has {len(dynamic)} dynamic sizes besides the batch; send its shape in JSON, "
            "with the JSON's length in the header Inference-Header-Content-Length"
        )
    for axis in dynamic:
        shape[axis] = max(1, count // math.prod(size for size in shape if size > 0))
    return shape


def _told(value: Any) -> str:
    """A value from JSON in a message. Python refuses to write out integers that are too long."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number that is far too large"
    return shown(str(value)) if not isinstance(value, (list, dict)) else "a list or an object"
