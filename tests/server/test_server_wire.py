"""v2 bodies to tensors and back, without HTTP."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from enginecrate.errors import RequestInvalid
from enginecrate.server.inference_protocol.answer import encode_infer
from enginecrate.server.inference_protocol.request import (
    InferRequest,
    RequestedOutput,
    Signature,
    parse_infer,
)
from enginecrate.values import DataType, TensorSpec

NUMBERS = [datatype for datatype in DataType if datatype is not DataType.BYTES]


def signature(datatype=DataType.FP32, shape=(-1, 3), max_batch=8, outputs=None) -> Signature:
    spec = TensorSpec("x", DataType(datatype), shape)
    return Signature([spec], outputs or [TensorSpec("y", spec.datatype, shape)], max_batch)


def entry(data=None, *, name="x", shape=(1, 3), datatype="FP32", **parameters):
    made = {"name": name, "shape": list(shape), "datatype": datatype}
    if data is not None:
        made["data"] = data
    if parameters:
        made["parameters"] = parameters
    return made


def parse(*inputs, binary=b"", spec=None, **rest) -> InferRequest:
    header = json.dumps({"inputs": list(inputs), **rest}).encode()
    length = str(len(header)) if binary else None
    return parse_infer(header + binary, length, spec or signature())


def refused(match, *inputs, **rest):
    with pytest.raises(RequestInvalid, match=match):
        parse(*inputs, **rest)


def example(datatype: DataType) -> np.ndarray:
    if datatype is DataType.BYTES:
        return np.array([[b"", b"a,b", '\N{SNOWMAN}"\\'.encode()]], dtype=object)
    return np.array([[0, 1, 2.0 if datatype.numpy.kind != "b" else 1]]).astype(datatype.numpy)


@pytest.mark.parametrize("datatype", DataType)
def test_flat_and_nested_json_of_every_datatype(datatype):
    array = example(datatype)
    elements = [value.decode() for value in array.flat] if datatype == "BYTES" else array.astype(
        np.float32 if datatype == "BF16" else array.dtype
    ).ravel().tolist()  # fmt: skip
    for data in (elements, [elements]):
        tensor = parse(entry(data, datatype=datatype), spec=signature(datatype)).tensors["x"]
        assert tensor.dtype == datatype.numpy
        assert tensor.tolist() == array.tolist()


@pytest.mark.parametrize("datatype", NUMBERS)
def test_binary_of_every_datatype_round_trips(datatype):
    array = example(datatype)
    tensor = parse(
        entry(datatype=datatype, binary_data_size=array.nbytes),
        binary=array.tobytes(), spec=signature(datatype),
    ).tensors["x"]  # fmt: skip
    assert tensor.dtype == datatype.numpy
    assert tensor.flags.aligned
    assert tensor.tobytes() == array.tobytes()


def test_binary_is_not_copied_when_it_is_aligned():
    header = json.dumps({"inputs": [entry(binary_data_size=12)]}).encode()
    array = np.array([1, 2, 3], np.float32)
    for padding in range(4):
        body = header + b" " * padding + array.tobytes()
        tensor = parse_infer(body, str(len(header) + padding), signature()).tensors["x"]
        assert tensor.tolist() == [[1, 2, 3]]
        aligned = np.frombuffer(body, np.uint8)[len(header) + padding :]
        if aligned.ctypes.data % 4 == 0:
            assert np.shares_memory(aligned, tensor)


def test_binary_bytes_elements():
    elements = [b"", b"abc", bytes(range(256))]
    data = b"".join(struct.pack("<I", len(one)) + one for one in elements)
    tensor = parse(
        entry(datatype="BYTES", binary_data_size=len(data)), binary=data, spec=signature("BYTES")
    ).tensors["x"]
    assert tensor.tolist() == [elements]


@pytest.mark.parametrize(
    ("data", "words"), [(b"\0\1\2", "byte 2 is 2"), (b"\x94\2\0", "byte 0 is 148")]
)
def test_a_truth_value_is_0_or_1(data: bytes, words: str):
    with pytest.raises(RequestInvalid, match=f"{words}; a BOOL element is one byte, 0 or 1"):
        parse(entry(datatype="BOOL", binary_data_size=3), binary=data, spec=signature("BOOL"))
    sent = entry(datatype="BOOL", binary_data_size=3)
    tensor = parse(sent, binary=b"\0\1\0", spec=signature("BOOL")).tensors["x"]
    assert tensor.tolist() == [[False, True, False]]


def test_a_byte_order_mark_is_ignored():
    body = b'\xef\xbb\xbf{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
    assert parse_infer(body, None, signature()).tensors["x"].tolist() == [[1, 2, 3]]
    header = b'\xef\xbb\xbf{"inputs":[{"name":"x","shape":[1,3],"datatype":"UINT8","parameters":'
    header += b'{"binary_data_size":3}}]}'
    request = parse_infer(header + b"\1\2\3", str(len(header)), signature("UINT8"))
    assert request.tensors["x"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_json_are_named(coding: str):
    with pytest.raises(RequestInvalid, match="not valid JSON: it is in UTF-16 or UTF-32"):
        parse_infer('{"inputs":[]}'.encode(coding), None, signature())


def test_not_finite_numbers_pass_through_in_binary():
    array = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    tensor = parse(entry(binary_data_size=12), binary=array.tobytes()).tensors["x"]
    np.testing.assert_array_equal(tensor, array)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_not_finite_numbers_are_refused_in_json(word):
    body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,%s,2]}]}'
    with pytest.raises(RequestInvalid, match="no NaN and no Infinity: send such values as binary"):
        parse_infer(body % word.encode(), None, signature())


def test_two_inputs_json_and_binary_in_one_request():
    spec = Signature(
        [TensorSpec("a", DataType.INT64, (-1, 1)), TensorSpec("b", DataType.FP16, (-1, 2))],
        [TensorSpec("y", DataType.FP32, (-1,))], 8,
    )  # fmt: skip
    half = np.array([[1.5, 2.5]], np.float16)
    request = parse(
        entry(name="b", shape=(1, 2), datatype="FP16", binary_data_size=4),
        entry([2**60], name="a", shape=(1, 1), datatype="INT64"),
        binary=half.tobytes(), spec=spec, id="seven", parameters={"timeout": 1000},
    )  # fmt: skip
    assert request.tensors["a"].tolist() == [[2**60]]
    assert request.tensors["b"].tolist() == half.tolist()
    assert (request.id, request.timeout_us, request.batch) == ("seven", 1000, 1)


def test_which_outputs_are_wanted_and_how():
    spec = signature(outputs=[TensorSpec(n, DataType.FP32, (-1, 3)) for n in ("y", "z")])
    data = [1, 2, 3]
    assert parse(entry(data), spec=spec).outputs == [
        RequestedOutput("y", False), RequestedOutput("z", False)
    ]  # fmt: skip
    binary = parse(entry(data), spec=spec, parameters={"binary_data_output": True})
    assert [output.binary for output in binary.outputs] == [True, True]
    chosen = parse(
        entry(data), spec=spec, parameters={"binary_data_output": True},
        outputs=[{"name": "z", "parameters": {"binary_data": False, "classification": 2}}],
    )  # fmt: skip
    assert chosen.outputs == [RequestedOutput("z", False, 2)]


def test_header_length_of_the_whole_body_is_plain_json():
    body = json.dumps({"inputs": [entry([1, 2, 3])]}).encode()
    assert parse_infer(body, str(len(body)), signature()).tensors["x"].tolist() == [[1, 2, 3]]


def test_raw_body_is_the_only_input_and_outputs_are_binary():
    array = np.array([[1, 2, 3]], np.float32)
    request = parse_infer(array.tobytes(), "0", signature())
    assert request.tensors["x"].tolist() == array.tolist()
    assert request.outputs == [RequestedOutput("y", True)]
    assert request.batch == 1


def test_raw_body_fills_in_one_dynamic_size():
    request = parse_infer(
        np.arange(8, dtype=np.int32).tobytes(), "0", signature("INT32", (-1, -1, 2))
    )
    assert request.tensors["x"].shape == (1, 4, 2)


def test_raw_bytes_body_is_one_element():
    request = parse_infer(b"\x00hello", "0", signature("BYTES", (-1, 1)))
    assert request.tensors["x"].tolist() == [[b"\x00hello"]]


def test_raw_body_refusals():
    with pytest.raises(RequestInvalid, match="takes 12 bytes, but 13 bytes"):
        parse_infer(b"x" * 13, "0", signature())
    with pytest.raises(RequestInvalid, match="2 dynamic sizes"):
        parse_infer(b"x" * 8, "0", signature(shape=(-1, -1, -1)))
    two = Signature([*signature().inputs, TensorSpec("b", DataType.FP32, (-1,))], [], 8)
    with pytest.raises(RequestInvalid, match="the model has 2"):
        parse_infer(b"x" * 8, "0", two)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        (b"", "the body is empty"),
        (b"{", "not valid JSON"),
        (b"[]", "Expected object, got array"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"z":' + b"[" * 100_000, "not valid JSON.*nested too deeply"),
        (b"{}", "missing required field inputs"),
        (b'{"inputs": 5}', r"Expected array, got int - at \$.inputs"),
        (b'{"inputs": [{"shape":[1,3],"datatype":"FP32"}]}', "missing required field name"),
        (b'{"inputs": [{"name":"x","shape":"1,3","datatype":"FP32"}]}', r"\$.inputs\[0\].shape"),
        (b'{"inputs": [{"name":"x","shape":[1.5,3],"datatype":"FP32"}]}', "Expected int"),
        (b'{"inputs": [], "parameters": [1]}', r"\$.parameters"),
        (b'{"inputs": [], "outputs": {}}', r"\$.outputs"),
        (b'{"inputs": [], "id": 5}', r"\$.id"),
        (b'{"inputs": []}', r"input 'x' is missing; send it as x FP32 \[-1,3\]"),
    ],
)  # fmt: skip
def test_headers_that_are_refused(body, match):
    with pytest.raises(RequestInvalid, match=match):
        parse_infer(body, None, signature())


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "", "99999999999999999999", "\u0663"])
def test_header_lengths_that_are_no_numbers(length):
    with pytest.raises(RequestInvalid, match="not a number of bytes"):
        parse_infer(b"{}", length, signature())


def test_header_length_beyond_the_body():
    with pytest.raises(
        RequestInvalid, match="announces 99 bytes of JSON, but the whole body has 2"
    ):
        parse_infer(b"{}", "99", signature())


GOOD = [1, 2, 3]


@pytest.mark.parametrize(
    ("match", "inputs"),
    [
        ("no input 'X'; its inputs are: x FP32", [entry(GOOD, name="X")]),
        (r"no input 'aaaa.*\(100000 characters\)", [entry(GOOD, name="a" * 100_000)]),
        ("input 'x' is sent twice", [entry(GOOD), entry(GOOD)]),
        ("takes datatype FP32, found 'FP64'", [entry(GOOD, datatype="FP64")]),
        ("takes datatype FP32, found 'float'", [entry(GOOD, datatype="float")]),
        (r"takes shape \[-1, 3\].*found \[1, 4\]", [entry(GOOD, shape=(1, 4))]),
        (r"found \[3\]", [entry(GOOD, shape=(3,))]),
        (r"found \[\]", [entry(GOOD, shape=())]),
        (r"found \[0, 3\]", [entry([], shape=(0, 3))]),
        (r"found \[-1, 3\]", [entry(GOOD, shape=(-1, 3))]),
        (r"1,.*characters\)", [entry(GOOD, shape=[1] * 10_000)]),
        ("a batch of 9223372036854775807 is too large", [entry(GOOD, shape=(2**63 - 1, 3))]),
        ("needs 3 elements, its data has 2", [entry([1, 2])]),
        ("needs 3 elements, its data has 4", [entry([1, 2, 3, 4])]),
        ("needs 3 elements, its data has 0", [entry([])]),
        ("no list", [entry(5)]),
        ("no list", [entry("abc")]),
        ("no list", [entry({})]),
        ("found lists 3 deep", [entry([[[1, 2, 3]]])]),
        ("not equally long", [entry([[1, 2], [3, 4, 5], [6]], shape=(2, 3))]),
        ("its data has the shape", [entry([[1, 2], [3, 4], [5, 6]], shape=(2, 3))]),
        ("Expected float, got str", [entry(["a", 2, 3])]),
        ("Expected float, got bool", [entry([True, 2, 3])]),
        ("Expected float, got array", [entry([1, [2], 3])]),
        ("out of the range of FP32", [entry([1e39, 2, 3])]),
        ("x' has no data", [entry()]),
        ("both data and binary_data_size", [entry(GOOD, binary_data_size=12)]),
        ("binary_data_size is 12, but only 0", [entry(binary_data_size=12)]),
        ("binary_data_size must be a whole number", [entry(binary_data_size=-12)]),
        ("binary_data_size must be a whole number", [entry(binary_data_size="12")]),
        ("binary_data_size must be a whole number", [entry(binary_data_size=True)]),
        ("shared memory is not available", [entry(shared_memory_region="r")]),
        ("a batch of 9 is too large: the model takes up to 8", [entry([0] * 27, shape=(9, 3))]),
    ],
)  # fmt: skip
def test_inputs_that_are_refused(match, inputs):
    refused(match, *inputs)


@pytest.mark.parametrize(
    ("datatype", "data", "match"),
    [
        ("UINT8", [1, 256, 3], "out of the range of UINT8"),
        ("UINT8", [1, -1, 3], "out of the range of UINT8"),
        ("INT64", [1, 2**63, 3], "out of the range of INT64"),
        ("UINT64", [1, 10**30, 3], "out of the range of UINT64"),
        ("INT32", [1, 2.5, 3], "Expected int, got float"),
        ("BOOL", [0, 1, 1], "Expected bool, got int"),
        ("FP16", [1, 70000, 3], "out of the range of FP16"),
        ("BF16", [1, 1e39, 3], "out of the range of BF16"),
        ("BYTES", [1, 2, 3], "Expected str, got int"),
        ("BYTES", ["a", "b"], "needs 3 elements"),
        ("BYTES", ["a", "b", "c", "d"], "more than 3"),
    ],
)  # fmt: skip
def test_elements_that_do_not_fit_their_datatype(datatype, data, match):
    refused(match, entry(data, datatype=datatype), spec=signature(datatype))


def test_sizes_that_lie_in_binary_requests():
    twelve = b"x" * 12
    refused("takes 12 bytes, but 8 bytes", entry(binary_data_size=8), binary=twelve[:8])
    refused("takes 24 bytes, but 12", entry(shape=(2, 3), binary_data_size=12), binary=twelve)
    refused("only 8 bytes of the body are left", entry(binary_data_size=12), binary=twelve[:8])
    refused("1 bytes follow the last input", entry(binary_data_size=12), binary=twelve + b"!")
    refused("12 bytes follow", entry(GOOD), binary=twelve)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x01\x00\x00\x00a" * 2, "takes at least 12 bytes"),
        (b"\x01\x00\x00\x00a" * 4, "5 bytes are left over after 3 elements"),
        (b"\xff\xff\xff\xff" + b"a" * 12, "element 0 of 3 ends at byte 4294967299"),
        (b"\x05\x00\x00\x00a" * 3, "element 1 of 3 ends at"),
        (b"\x07\x00\x00\x00aaaaaaa\x01", "element 1 of 3 ends at byte 15"),
    ],
)  # fmt: skip
def test_bytes_elements_that_lie_about_their_length(data, match):
    refused(
        match, entry(datatype="BYTES", binary_data_size=len(data)), binary=data,
        spec=signature("BYTES"),
    )  # fmt: skip


def test_a_lie_about_the_count_is_found_before_memory_is_taken():
    """Thirty million numbers for a shape of three would become a gigabyte of objects."""
    body = b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[0%s]}]}' % (
        b",0" * 10**6
    )
    with pytest.raises(RequestInvalid, match="needs 3 elements, its data has 1000001"):
        parse_infer(body, None, signature())


@pytest.mark.parametrize(
    ("rest", "match"),
    [
        ({"outputs": [{"name": "Y"}]}, "no output 'Y'; its outputs are: y FP32"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "asked for twice"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({"outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "whole number"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "memory"),
        ({"parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({"parameters": {"timeout": -5}}, "timeout must be a whole number"),
    ],
)  # fmt: skip
def test_wishes_that_are_refused(rest, match):
    refused(match, entry(GOOD), **rest)


def test_products_of_sizes_do_not_overflow():
    spec = signature(shape=(-1, -1, 3))
    match = "needs 27670116110564327421 elements, its data has 3"
    refused(match, entry(GOOD, shape=(1, 2**63 - 1, 3)), spec=spec)


HUGE = "9" * 5000
"""Python neither reads nor writes out integers of so many digits, but JSON may hold them."""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"shape": [1', f'"shape": [{HUGE}'),
        ('"shape": [1', f'"shape": [-{HUGE}'),
        ('"binary_data_size": 12', f'"binary_data_size": {HUGE}'),
        ('"binary_data_size": 12', f'"binary_data_size": -{HUGE}'),
        ('"binary_data_size": 12', f'"binary_data_size": [{HUGE}]'),
        ('"timeout": 5', f'"timeout": {HUGE}'),
        ('"timeout": 5', f'"timeout": -{HUGE}'),
        ('"timeout": 5', f'"timeout": {2**63}'),
        ('"binary_data_output": true', f'"binary_data_output": {HUGE}'),
        ('"binary_data_output": true', f'"binary_data_output": {{"a": {HUGE}}}'),
        ('"id": "a"', f'"id": {HUGE}'),
    ],
)
def test_huge_numbers_in_every_place(old, new):
    header = json.dumps(
        {
            "id": "a",
            "inputs": [entry(binary_data_size=12)],
            "parameters": {"timeout": 5, "binary_data_output": True},
        }
    )
    assert old in header
    header = header.replace(old, new)
    with pytest.raises(RequestInvalid) as caught:
        parse_infer(header.encode() + bytes(12), str(len(header)), signature())
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("datatype", ["INT64", "UINT64", "FP32", "FP64", "FP16", "BOOL", "BYTES"])
def test_huge_numbers_as_elements(datatype):
    header = json.dumps({"inputs": [entry([1, 2, 7], datatype=datatype)]}).replace("7", HUGE)
    with pytest.raises(RequestInvalid):
        parse_infer(header.encode(), None, signature(datatype))


def test_a_wrong_name_is_answered_with_the_nearest():
    spec = Signature([TensorSpec("pixels", DataType.FP32, (-1, 3))], signature().outputs, 8)
    refused("no input 'pixel'; did you mean 'pixels'", entry(GOOD, name="pixel"), spec=spec)


def test_inputs_must_agree_in_batch():
    spec = Signature(
        [TensorSpec(name, DataType.FP32, (-1, 1)) for name in "ab"],
        [TensorSpec("y", DataType.FP32, (-1,))], 8,
    )  # fmt: skip
    refused(
        "same batch size; found a 1, b 2",
        entry([1], name="a", shape=(1, 1)), entry([1, 2], name="b", shape=(2, 1)), spec=spec,
    )  # fmt: skip


def encode(outputs, wanted, labels=(), batch=1):
    request = InferRequest({}, wanted, id="i", batch=batch)
    length, parts = encode_infer(request, outputs, "m", "1.0.0", labels)
    body = b"".join(parts)
    return json.loads(body[:length]), body[length:] if length else b""


def test_answers_in_json_and_binary():
    y = np.array([[1.5, 2.5]], np.float32)
    z = np.array([[b"ab", b""]], dtype=object)
    sizes = {"binary_data_size": 10}
    header, binary = encode(
        {"y": y, "z": z}, [RequestedOutput("z", True), RequestedOutput("y", False)]
    )
    assert header == {
        "model_name": "m",
        "model_version": "1.0.0",
        "id": "i",
        "outputs": [
            {"name": "z", "datatype": "BYTES", "shape": [1, 2], "parameters": sizes},
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]},
        ],
    }  # fmt: skip
    assert binary == b"\x02\x00\x00\x00ab\x00\x00\x00\x00"


@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_datatype_is_answered_in_both_forms(datatype):
    array = example(datatype)
    header, binary = encode({"y": array}, [RequestedOutput("y", True)])
    assert np.frombuffer(binary, datatype.numpy).tolist() == array.ravel().tolist()
    assert header["outputs"][0]["datatype"] == datatype
    header, _ = encode({"y": array}, [RequestedOutput("y", False)])
    assert header["outputs"][0]["data"] == array.ravel().tolist()


def test_outputs_of_other_layouts_are_sent_row_major():
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    _, binary = encode({"y": array}, [RequestedOutput("y", True)])
    assert np.frombuffer(binary, np.int16).tolist() == [0, 3, 1, 4, 2, 5]


def test_numbers_that_json_cannot_carry_become_null():
    array = np.array([[1, np.nan, np.inf]], np.float32)
    header, _ = encode({"y": array}, [RequestedOutput("y", False)])
    assert header["outputs"][0]["data"] == [1.0, None, None]


def test_bytes_that_are_not_text_cannot_be_json():
    with pytest.raises(RequestInvalid, match=r"output 'y'.*binary_data"):
        encode({"y": np.array([[b"\xff"]], dtype=object)}, [RequestedOutput("y", False)])


def test_classification_answers_the_best_classes():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.5]], np.float32)
    wanted = [RequestedOutput("y", False, 2)]
    header, _ = encode({"y": scores}, wanted, labels=["a", "b", "c"], batch=2)
    output = header["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert output["data"] == ["0.700000:1:b", "0.200000:2:c", "0.500000:0:a", "0.500000:2:c"]
    header, _ = encode({"y": scores}, wanted, labels=["too few"], batch=2)
    assert header["outputs"][0]["data"][0] == "0.700000:1"
    header, _ = encode({"y": scores[0]}, [RequestedOutput("y", False, 9)], batch=0)
    assert header["outputs"][0]["shape"] == [3]
    with pytest.raises(RequestInvalid, match="numbers, not BYTES"):
        encode({"y": np.array([[b"a"]], dtype=object)}, wanted)


def test_bfloat16_keeps_its_values():
    array = np.array([[1.0, 0.5, 3.0]], ml_dtypes.bfloat16)
    header, _ = encode({"y": array}, [RequestedOutput("y", False)])
    assert header["outputs"][0] == {
        "name": "y", "datatype": "BF16", "shape": [1, 3], "data": [1.0, 0.5, 3.0]
    }  # fmt: skip
