"""Tensors as payloads of the Open Inference Protocol v2, and the comparison of answers.

Inputs are made from what the server says about its model. Answers under load are compared with
the answer that the same payload got alone, before the load began: a mixed-up or damaged answer is
found whatever the model computes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from enginecrate.bench.wire import Payload
from enginecrate.errors import ServerUnreachable, UsageError, nearest
from enginecrate.values import Array, DataType, Tensors

__all__ = [
    "TensorInput",
    "binary_payload",
    "json_payload",
    "made_tensors",
    "parse_inputs",
    "tensors_differ",
]

_TOLERANCE = 0.01
"""Of the largest value in a tensor: batches of other sizes round in another way."""
_HEADER = "Inference-Header-Content-Length"


class TensorInput(msgspec.Struct, frozen=True):
    """An input as the server describes it; -1 is an open dimension."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]


def parse_inputs(metadata: object) -> list[TensorInput]:
    """The inputs in the answer to `GET /v2/models/NAME`.

    Raises:
        ServerUnreachable: it is not what the protocol says.
    """
    try:
        return msgspec.convert(metadata["inputs"], list[TensorInput])  # type: ignore[index]
    except (KeyError, TypeError, msgspec.ValidationError) as exc:
        raise ServerUnreachable(
            f"the server's description of its model does not follow the v2 protocol: {exc}"
        ) from exc


def made_tensors(
    inputs: Sequence[TensorInput], shapes: Mapping[str, Sequence[int]], *, batch: int, seed: int
) -> Tensors:
    """Tensors of random numbers, the same for the same seed.

    Args:
        inputs: of the model.
        shapes: whole shapes, in place of what the server says.
        batch: for the first dimension, where it is open.
        seed: of the numbers.

    Raises:
        UsageError: an open dimension has no size, or a shape names no input.
    """
    for name in shapes:
        if name not in {one.name for one in inputs}:
            known = [one.name for one in inputs]
            raise UsageError(
                f"--shape {name}: the model has no such input{nearest(name, known)}; its inputs "
                f"are: {', '.join(known)}"
            )
    chance = np.random.default_rng(seed)
    return {
        one.name: _made(one.datatype, _shape(one, shapes.get(one.name), batch), chance)
        for one in inputs
    }


def json_payload(name: str, tensors: Tensors) -> Payload:
    """A request that has everything in JSON."""
    inputs = [_head(key, array) | {"data": _listed(array)} for key, array in tensors.items()]
    return Payload(name, msgspec.json.encode({"inputs": inputs}), "application/json")


def binary_payload(name: str, tensors: Tensors) -> Payload:
    """A request of the extension "binary tensor data"; the outputs are asked for in binary."""
    parts = [_bytes(array) for array in tensors.values()]
    inputs = [
        _head(key, array) | {"parameters": {"binary_data_size": len(part)}}
        for (key, array), part in zip(tensors.items(), parts, strict=True)
    ]
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    fields = ((_HEADER, str(len(head))),)
    return Payload(name, b"".join([head, *parts]), "application/octet-stream", fields)


def tensors_differ(right: bytes, answer: bytes) -> str:
    """Why an answer does not say what the right one says; empty when it does."""
    try:
        expected, found = _outputs(right), _outputs(answer)
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        return f"no answer of the v2 protocol ({exc})"
    if expected.keys() != found.keys():
        return f"outputs {', '.join(found)} in place of {', '.join(expected)}"
    for name, array in expected.items():
        if reason := _difference(array, found[name]):
            return f"output {name}: {reason}"
    return ""


def _shape(one: TensorInput, given: Sequence[int] | None, batch: int) -> tuple[int, ...]:
    if given is not None:
        return tuple(given)
    shape = [batch if not at and size < 0 else size for at, size in enumerate(one.shape)]
    if any(size < 0 for size in shape):
        raise UsageError(
            f"input {one.name} has open dimensions {list(one.shape)}; say its shape: "
            f"--shape {one.name}:{','.join(str(max(size, 1)) for size in shape)}"
        )
    return tuple(shape)


def _made(datatype: DataType, shape: tuple[int, ...], chance: np.random.Generator) -> Array:
    if datatype is DataType.BYTES:
        numbers = chance.integers(2**31, size=math.prod(shape))
        return np.array([f"{number:08x}".encode() for number in numbers], object).reshape(shape)
    if np.issubdtype(datatype.numpy, np.integer) or datatype is DataType.BOOL:
        return chance.integers(2, size=shape).astype(datatype.numpy)
    return chance.random(shape, np.float32).astype(datatype.numpy)


def _head(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": DataType.of(array.dtype), "shape": list(array.shape)}


def _listed(array: Array) -> list[Any]:
    if array.dtype == object:
        return [element.decode("latin-1") for element in array.flat]
    if array.dtype == DataType.BF16.numpy:
        raise UsageError("BF16 has no form in JSON; use --protocol v2-binary")
    values: list[Any] = array.reshape(-1).tolist()
    return values


def _bytes(array: Array) -> bytes:
    if array.dtype == object:
        return b"".join(len(one).to_bytes(4, "little") + one for one in array.flat)
    return np.ascontiguousarray(array).tobytes()


def _outputs(body: bytes) -> dict[str, Array]:
    """The tensors of an answer. Binary data follows the JSON, whose end the JSON itself tells."""
    document, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    outputs: dict[str, Array] = {}
    for output in document["outputs"]:
        datatype = DataType(output["datatype"])
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(output["data"], datatype.numpy)
        else:
            data, end = body[end : end + size], end + size
            array = _parsed(datatype, data)
        outputs[output["name"]] = array.reshape(output["shape"])
    return outputs


def _parsed(datatype: DataType, data: bytes) -> Array:
    if datatype is not DataType.BYTES:
        return np.frombuffer(data, datatype.numpy)
    elements, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        elements.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return np.array(elements, object)


def _difference(expected: Array, found: Array) -> str:
    if expected.shape != found.shape:
        return f"shape {list(found.shape)} in place of {list(expected.shape)}"
    if not np.issubdtype(expected.dtype, np.number):
        return "" if np.array_equal(expected, found) else "other values"
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    limit = _TOLERANCE * float(np.nanmax(np.abs(wide), initial=0.0))
    off = np.abs(wide - other)
    wrong = (off > limit) | (np.isnan(wide) != np.isnan(other))
    if not wrong.any():
        return ""
    return f"{int(wrong.sum())} of {wrong.size} values are off by up to {float(np.nanmax(off)):.4g}"
