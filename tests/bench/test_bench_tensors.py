"""Payloads of the v2 protocol, read by the server's own parser, and the comparison of answers."""

import ml_dtypes
import msgspec
import numpy as np
import pytest

from enginecrate.bench.tensors import (
    TensorInput,
    binary_payload,
    json_payload,
    made_tensors,
    parse_inputs,
    tensors_differ,
)
from enginecrate.errors import ServerUnreachable, UsageError
from enginecrate.server.inference_protocol.request import Signature, parse_infer
from enginecrate.values import DataType, TensorSpec

KINDS = ["FP32", "FP16", "INT64", "BOOL", "BYTES", "UINT8"]


@pytest.mark.parametrize("make", [json_payload, binary_payload])
@pytest.mark.parametrize("datatype", [DataType(kind) for kind in KINDS])
def test_the_server_reads_what_is_sent(make, datatype: DataType):
    spec = TensorInput("x", datatype, (-1, 3, 4))
    tensors = made_tensors([spec], {}, batch=2, seed=7)
    payload = make("one", tensors)
    signature = Signature([TensorSpec("x", datatype, (-1, 3, 4))], [], 8)
    length = dict(payload.fields).get("Inference-Header-Content-Length")
    parsed = parse_infer(payload.body, length, signature)
    assert np.array_equal(parsed.tensors["x"], tensors["x"])
    assert parsed.tensors["x"].shape == (2, 3, 4)


def test_the_same_seed_gives_the_same_tensors():
    spec = TensorInput("x", DataType.FP32, (4,))
    first, again, other = (made_tensors([spec], {}, batch=1, seed=seed)["x"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_open_dimensions_need_a_shape():
    spec = TensorInput("photo", DataType.FP32, (-1, 3, -1, -1))
    with pytest.raises(UsageError, match="--shape photo:2,3,1,1"):
        made_tensors([spec], {}, batch=2, seed=1)
    made = made_tensors([spec], {"photo": (1, 3, 8, 9)}, batch=2, seed=1)
    assert made["photo"].shape == (1, 3, 8, 9)
    with pytest.raises(UsageError, match="did you mean 'photo'"):
        made_tensors([spec], {"foto": (1,)}, batch=1, seed=1)


def test_a_description_that_is_none():
    metadata = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}
    assert parse_inputs(metadata) == [TensorInput("x", DataType.FP32, (-1, 2))]
    for wrong in ({}, [], {"inputs": [{"name": "x"}]}, {"inputs": [{"datatype": "F", "shape": 1}]}):
        with pytest.raises(ServerUnreachable, match="does not follow the v2 protocol"):
            parse_inputs(wrong)


def test_bf16_goes_in_binary_only():
    tensors = {"x": np.ones((1, 2), ml_dtypes.bfloat16)}
    assert len(binary_payload("b", tensors).body) > 4
    with pytest.raises(UsageError, match="v2-binary"):
        json_payload("j", tensors)


def answer(values: list[float], *, name: str = "y", binary: bool = False) -> bytes:
    array = np.array(values, np.float32)
    output = {"name": name, "datatype": "FP32", "shape": [len(values)]}
    if not binary:
        return msgspec.json.encode({"outputs": [output | {"data": values}]})
    output["parameters"] = {"binary_data_size": array.nbytes}
    return msgspec.json.encode({"outputs": [output]}) + array.tobytes()


@pytest.mark.parametrize("binary", [False, True])
def test_answers_are_compared_within_a_tolerance(binary: bool):
    right = answer([1.0, -50.0, 100.0], binary=binary)
    assert tensors_differ(right, answer([1.5, -50.0, 99.5], binary=binary)) == ""
    assert tensors_differ(right, answer([1.0, -50.0, 100.0])) == ""
    off = tensors_differ(right, answer([3.0, -50.0, 100.0], binary=binary))
    assert off == "output y: 1 of 3 values are off by up to 2"
    nan = tensors_differ(right, answer([1.0, -50.0, float("nan")], binary=True))
    assert "1 of 3 values" in nan
    assert "shape [2] in place of [3]" in tensors_differ(right, answer([1.0, 2.0], binary=binary))
    assert "outputs z in place of y" in tensors_differ(right, answer([1.0], name="z"))
    assert "no answer" in tensors_differ(right, b"oops")
    assert "no answer" in tensors_differ(right, right[:-1])


def test_texts_are_compared_as_they_are():
    def texts(*words: str) -> bytes:
        output = {"name": "y", "datatype": "BYTES", "shape": [len(words)], "data": words}
        return msgspec.json.encode({"outputs": [output]})

    assert tensors_differ(texts("a", "b"), texts("a", "b")) == ""
    assert tensors_differ(texts("a", "b"), texts("b", "a")) == "output y: other values"
