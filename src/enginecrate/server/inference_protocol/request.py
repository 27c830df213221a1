"""The Open Inference Protocol v2's requests: from bytes to tensors. No HTTP.

Specification: the protocol's "Inference" section with the extensions "binary tensor data" and
"classification". Every lie about a size, a shape or a count is a `RequestInvalid` that names the
tensor, found before memory is taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from enginecrate.errors import RequestInvalid, nearest
from enginecrate.files.encoding import utf8
from enginecrate.server.http.messages import shown
from enginecrate.server.inference_protocol.binary_tensors import array_from_bytes
from enginecrate.server.inference_protocol.checks import (
    check_batch,
    check_fit,
    fill_in_shape,
    flag_parameter,
    refuse_shared_memory,
    whole_parameter,
)
from enginecrate.server.inference_protocol.json_tensors import array_from_json
from enginecrate.values import Array, DataType, Tensors, TensorSpec

__all__ = ["InferRequest", "RequestedOutput", "Signature", "parse_infer"]

_Parameters = dict[str, Any]
_Size = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model. `max_batch` is 0 when the first dimension is not a batch."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    max_batch: int


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the client asked for. `classes` > 0: its best classes instead of its data."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request whose tensors fit the model. `timeout_us` is 0 when the client set none."""

    tensors: Tensors
    outputs: Sequence[RequestedOutput]
    id: str = ""
    timeout_us: int = 0
    batch: int = 1


class _Input(msgspec.Struct):
    name: str
    shape: list[_Size]
    datatype: str
    parameters: _Parameters = {}
    data: msgspec.Raw = msgspec.Raw()  # empty: not sent


class _Output(msgspec.Struct):
    name: str
    parameters: _Parameters = {}


class _Header(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: _Parameters = {}
    outputs: list[_Output] = []


_decoder = msgspec.json.Decoder(_Header)
_NOT_JSON = re.compile(rb"[\[,:\s-](NaN|Infinity)")


def parse_infer(
    body: bytes | memoryview, header_length: str | None, signature: Signature
) -> InferRequest:
    """Parse the body of an inference request.

    Args:
        body: decompressed.
        header_length: the header `Inference-Header-Content-Length`. `None`: the body is all JSON.
            `"0"`: it is the bytes of the model's only input, for a batch of 1.
        signature: of the model.

    Raises:
        RequestInvalid: the message names the tensor, what is wrong and what would be right.
    """
    length = _header_length(header_length, len(body))
    if length == 0:
        return _parse_raw(body, signature)
    header = _decode(bytes(body[:length]))
    refuse_shared_memory("the request", header.parameters)
    rest = _Binary(memoryview(body)[length:])
    tensors = _tensors(header.inputs, rest, signature)
    rest.expect_end()
    return InferRequest(
        tensors=tensors,
        outputs=_requested(header, signature),
        id=header.id,
        timeout_us=whole_parameter(header.parameters, "timeout", "the request"),
        batch=_batch(tensors, signature),
    )


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        if not size:
            raise RequestInvalid("the body is empty; send an inference request in JSON")
        return size
    text = text.strip()
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise RequestInvalid(
            f"the header Inference-Header-Content-Length is {shown(text)}, not a number of bytes"
        )
    if int(text) > size:
        raise RequestInvalid(
            f"the header Inference-Header-Content-Length announces {int(text)} bytes of JSON, "
            f"but the whole body has {size}"
        )
    return int(text)


def _decode(data: bytes) -> _Header:
    try:
        return _decoder.decode(utf8(data))
    except msgspec.ValidationError as exc:
        raise RequestInvalid(
            f"the request does not follow the protocol: {str(exc).replace('`', '')}"
        ) from exc
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        hint = ""
        if _NOT_JSON.search(data):
            hint = "; JSON has no NaN and no Infinity: send such values as binary data"
        elif isinstance(exc, RecursionError):
            hint = ": it is nested too deeply"
        elif not isinstance(exc, UnicodeDecodeError):  # UTF-16, too
            hint = f": {exc}"
        else:
            hint = ": it is not UTF-8; if binary data follows it, send its length in the header "
            hint += "Inference-Header-Content-Length"
        raise RequestInvalid(f"the request is not valid JSON{hint}") from exc


class _Binary:
    """The binary data after the JSON, handed out in order."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def take(self, where: str, size: int) -> memoryview:
        left = self._data.nbytes - self._position
        if size > left:
            raise RequestInvalid(
                f"{where}: binary_data_size is {size}, but only {left} bytes of the body are left"
            )
        start, self._position = self._position, self._position + size
        return self._data[start : self._position]

    def expect_end(self) -> None:
        left = self._data.nbytes - self._position
        if left:
            raise RequestInvalid(
                f"{left} bytes follow the last input's data; check every binary_data_size and the "
                "header Inference-Header-Content-Length"
            )


def _tensors(inputs: Sequence[_Input], rest: _Binary, signature: Signature) -> Tensors:
    specs = {spec.name: spec for spec in signature.inputs}
    tensors: dict[str, Array] = {}
    for entry in inputs:
        where = f"input {shown(entry.name)}"
        spec = specs.get(entry.name)
        if spec is None:
            raise RequestInvalid(
                f"the model has no {where}{nearest(entry.name[:200], specs)}; "
                f"its inputs are: {_listed(signature.inputs)}"
            )
        if entry.name in tensors:
            raise RequestInvalid(f"{where} is sent twice; send each input once")
        check_fit(where, entry.datatype, entry.shape, spec)
        check_batch(where, entry.shape, signature.max_batch)
        tensors[entry.name] = _tensor(where, entry, spec, rest)
    for spec in signature.inputs:
        if spec.name not in tensors:
            raise RequestInvalid(f"input {spec.name!r} is missing; send it as {spec}")
    return tensors


def _tensor(where: str, entry: _Input, spec: TensorSpec, rest: _Binary) -> Array:
    refuse_shared_memory(where, entry.parameters)
    if "binary_data_size" in entry.parameters:
        if bytes(entry.data):
            raise RequestInvalid(f"{where} has both data and binary_data_size; send one of them")
        size = whole_parameter(entry.parameters, "binary_data_size", where)
        return array_from_bytes(where, rest.take(where, size), spec.datatype, entry.shape)
    raw = bytes(entry.data)
    if not raw:
        raise RequestInvalid(
            f"{where} has no data; send data in the JSON, or binary data with binary_data_size"
        )
    return array_from_json(where, raw, spec.datatype, entry.shape)


def _batch(tensors: Tensors, signature: Signature) -> int:
    """The size of the batch; 0 when the model's first dimension is not a batch."""
    if not signature.max_batch:
        return 0
    sizes = {name: array.shape[0] for name, array in tensors.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise RequestInvalid(f"every input needs the same batch size; found {listed}")
    return int(next(iter(sizes.values()), 1))


def _requested(header: _Header, signature: Signature) -> list[RequestedOutput]:
    known = [spec.name for spec in signature.outputs]
    default = flag_parameter(header.parameters, "binary_data_output", "the request", False)
    requested: dict[str, RequestedOutput] = {}
    for entry in header.outputs:
        where = f"output {shown(entry.name)}"
        if entry.name not in known:
            raise RequestInvalid(
                f"the model has no {where}{nearest(entry.name[:200], known)}; "
                f"its outputs are: {_listed(signature.outputs)}"
            )
        if entry.name in requested:
            raise RequestInvalid(f"{where} is asked for twice; ask for each output once")
        refuse_shared_memory(where, entry.parameters)
        binary = flag_parameter(entry.parameters, "binary_data", where, default)
        classes = whole_parameter(entry.parameters, "classification", where)
        requested[entry.name] = RequestedOutput(entry.name, binary, classes)
    return list(requested.values()) or [RequestedOutput(name, default) for name in known]


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))


def _parse_raw(body: bytes | memoryview, signature: Signature) -> InferRequest:
    """A body that is nothing but the bytes of the only input; all outputs are sent in binary."""
    if len(signature.inputs) != 1:
        raise RequestInvalid(
            "Inference-Header-Content-Length 0 means that the body is the model's only input, but "
            f"the model has {len(signature.inputs)}: {_listed(signature.inputs)}"
        )
    spec = signature.inputs[0]
    where = f"input {spec.name!r}"
    shape = list(spec.shape)
    if signature.max_batch:
        shape[0] = 1
    if spec.datatype is DataType.BYTES:
        body = len(body).to_bytes(4, "little") + bytes(body)
        shape = [1 if size < 0 else size for size in shape]
    else:
        shape = fill_in_shape(where, shape, len(body) // spec.datatype.numpy.itemsize)
    tensors = {spec.name: array_from_bytes(where, memoryview(body), spec.datatype, shape)}
    outputs = [RequestedOutput(output.name, True) for output in signature.outputs]
    return InferRequest(tensors, outputs, batch=1 if signature.max_batch else 0)
