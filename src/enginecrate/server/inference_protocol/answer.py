"""The answer to an inference request: from tensors to bytes. No HTTP.

Numbers that JSON cannot carry (NaN, Infinity) become `null` there; binary outputs carry them. The
best classes of an output are sent as text (v2 extension "classification").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from enginecrate.errors import RequestInvalid
from enginecrate.server.http.messages import Buffer
from enginecrate.server.inference_protocol.binary_tensors import bytes_from_array
from enginecrate.server.inference_protocol.json_tensors import json_from_array
from enginecrate.server.inference_protocol.request import InferRequest
from enginecrate.values import Array, DataType, Tensors

__all__ = ["encode_infer"]


class _Answer(msgspec.Struct, omit_defaults=True):
    name: str
    datatype: str
    shape: Sequence[int]
    parameters: dict[str, int] = {}
    data: list[Any] | None = None


class _AnswerHeader(msgspec.Struct, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_Answer]
    id: str = ""
    parameters: dict[str, str] = {}


_encoder = msgspec.json.Encoder()


def encode_infer(
    request: InferRequest,
    outputs: Tensors,
    model: str,
    version: str,
    labels: Sequence[str],
    parameters: dict[str, str] | None = None,
) -> tuple[int | None, list[Buffer]]:
    """Encode an answer.

    Args:
        request: the outputs to send, and their form.
        outputs: every output of the model.
        model: the model's name.
        version: the model's version.
        labels: class names, for outputs asked for as classes.
        parameters: of the answer.

    Returns:
        The length of the JSON when binary data follows it, and the body's parts.

    Raises:
        RequestInvalid: a BYTES output that is not UTF-8 was asked for in JSON.
    """
    header = _AnswerHeader(model, version, [], request.id, parameters or {})
    parts: list[Buffer] = []
    for output in request.outputs:
        array = outputs[output.name]
        if output.classes:
            array = _top_classes(array, output.classes, labels, batched=request.batch > 0)
        answer = _Answer(output.name, DataType.of(array.dtype), array.shape)
        if output.binary:
            parts.append(bytes_from_array(array))
            answer.parameters = {"binary_data_size": memoryview(parts[-1]).nbytes}
        else:
            answer.data = json_from_array(f"output {output.name!r}", array)
        header.outputs.append(answer)
    encoded = _encoder.encode(header)
    return (len(encoded) if parts else None), [encoded, *parts]


def _top_classes(array: Array, count: int, labels: Sequence[str], *, batched: bool) -> Array:
    """The highest values of each sample, best first.

    Args:
        array: an output; each sample's values are taken as one flat list of classes.
        count: how many; fewer when there are fewer classes.
        labels: class names; left out when their number is not that of the classes.
        batched: whether the first dimension is a batch.

    Returns:
        BYTES [batch, count], or [count] without a batch: `value:index` or `value:index:label`.

    Raises:
        RequestInvalid: the output holds text.
    """
    if array.dtype == object:
        raise RequestInvalid("classification needs an output of numbers, not BYTES")
    rows = array.reshape(array.shape[0] if batched else 1, -1)
    named = len(labels) == rows.shape[1]
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for row, column in np.ndindex(*best.shape):
        index = int(best[row, column])
        text = f"{float(rows[row, index]):f}:{index}"
        texts[row, column] = (f"{text}:{labels[index]}" if named else text).encode()
    return texts if batched else texts[0]
