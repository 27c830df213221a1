"""The answer to an inference request: from tensors to bytes. No HTTP.

Numbers that JSON cannot carry (NaN, Infinity) become `null` there; binary outputs carry them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from enginecrate.server.http.messages import Buffer
from enginecrate.server.inference_protocol.binary_tensors import bytes_from_array
from enginecrate.server.inference_protocol.json_tensors import json_from_array
from enginecrate.server.inference_protocol.request import InferRequest
from enginecrate.server.top_classes import top_classes
from enginecrate.values import DataType, Tensors

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
        request: says which outputs are wanted, and in which form.
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
    for wanted in request.outputs:
        array = outputs[wanted.name]
        if wanted.classes:
            array = top_classes(array, wanted.classes, labels, batched=request.batch > 0)
        answer = _Answer(wanted.name, DataType.of(array.dtype), array.shape)
        if wanted.binary:
            parts.append(bytes_from_array(array))
            answer.parameters = {"binary_data_size": memoryview(parts[-1]).nbytes}
        else:
            answer.data = json_from_array(f"output {wanted.name!r}", array)
        header.outputs.append(answer)
    encoded = _encoder.encode(header)
    return (len(encoded) if parts else None), [encoded, *parts]
