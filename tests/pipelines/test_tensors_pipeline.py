import io
import struct
import tracemalloc
import zipfile
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest

from enginecrate.errors import TensorMismatch, TensorsTooLarge, TensorsUndecodable
from enginecrate.pipelines.base import Limits, TensorResult, TensorsResult
from enginecrate.pipelines.tensors import MAX_ENTRIES, TensorsPipeline, read_npz
from enginecrate.values import DataType, PipelineSpec, TensorSpec

ROW = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def make(*inputs: TensorSpec, outputs=(), limits=Limits()) -> TensorsPipeline:  # noqa: B008
    inputs = inputs or (TensorSpec("x", DataType.FP32, (-1, 2, 3)),)
    return TensorsPipeline(PipelineSpec(task="tensors"), inputs, outputs, (), limits)


def spec(datatype: DataType, *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape)


def test_a_truth_value_is_0_or_1():
    payload = npz(x=np.array([[0, 1, 2]], np.uint8).view(bool))
    with pytest.raises(TensorsUndecodable, match="an element of bool is neither 0 nor 1"):
        read_npz(payload, 10_000)
    assert read_npz(npz(x=np.array([False, True])), 10_000)["x"].tolist() == [False, True]


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_come_through(compressed: bool):
    inputs = (TensorSpec("a/b:0", DataType.INT64, (-1, 2)), spec(DataType.FP32, -1, 2, 3))
    payload = npz(compressed, **{"a/b:0": np.array([[1, -2]]), "x": ROW})
    tensors = make(*inputs).prepare(memoryview(payload)).tensors
    assert list(tensors) == ["a/b:0", "x"]
    assert np.array_equal(tensors["x"], ROW)
    assert tensors["a/b:0"].tolist() == [[1, -2]]


def test_notations_of_the_same_numbers():
    fortran = make().prepare(npz(x=np.asfortranarray(ROW))).tensors["x"]
    assert fortran.flags.c_contiguous
    assert np.array_equal(fortran, ROW)
    swapped = make().prepare(npz(x=ROW.astype(">f4"))).tensors["x"]
    assert swapped.dtype == np.float32
    assert np.array_equal(swapped, ROW)
    half = make(spec(DataType.BF16, -1, 2, 3)).prepare(npz(x=ROW.astype(ml_dtypes.bfloat16)))
    assert half.tensors["x"].dtype == ml_dtypes.bfloat16
    assert np.array_equal(half.tensors["x"].astype(np.float32), ROW)
    texts = make(spec(DataType.BYTES, -1, 2)).prepare(npz(x=np.array([["a", "é"]])))
    assert texts.tensors["x"].tolist() == [[b"a", "é".encode()]]
    scalar = make(spec(DataType.FP32)).prepare(npz(x=np.float32(2)))
    assert scalar.tensors["x"].shape == ()


def test_the_batch_may_be_left_out():
    assert make().prepare(npz(x=ROW[0])).tensors["x"].shape == (1, 2, 3)
    fixed = make(spec(DataType.FP32, 1, 2, 3), outputs=(spec(DataType.FP32, 1, 5),))
    assert fixed.prepare(npz(x=ROW[0])).tensors["x"].shape == (1, 2, 3)


def test_a_first_dimension_that_is_no_batch_may_have_any_size():
    whole = TensorSpec("y", DataType.FP32, (3,))
    assert make(outputs=(whole,)).prepare(npz(x=ROW.repeat(5, 0))).tensors["x"].shape == (5, 2, 3)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, r"it lacks x FP32 \[-1,2,3\]"),
        ({"x": ROW, "y": ROW}, "the model has no input 'y'"),
        ({"z": ROW}, r"it lacks x .*; the model has no input 'z'"),
        (
            {"x": ROW.astype(np.float64)},
            r"is float64, .* FP32; convert it: array.astype\('float32'",
        ),
        ({"x": ROW[:, :1]}, r"shape \[1, 1, 3\], .* needs \[1, 2, 3\]"),
        ({"x": ROW.repeat(2, 0)}, "send one sample at a time"),
    ],
)
def test_what_does_not_fit_the_model(arrays: dict[str, Any], words: str):
    with pytest.raises(TensorMismatch, match=words):
        make().prepare(npz(**arrays))


def test_objects_are_never_loaded():
    payload = npz(x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TensorsUndecodable, match="Python objects, which are never loaded"):
        make().prepare(payload)


@pytest.mark.parametrize("payload", [b"", b"hello", b"PK\x03\x04", b"PK\x05\x06" + bytes(17)])
def test_no_archive(payload: bytes):
    with pytest.raises(TensorsUndecodable, match=r"numpy\.savez"):
        make().prepare(payload)


def test_every_truncation_and_every_flipped_byte():
    payload = npz(True, x=ROW)
    for cut in range(len(payload)):
        with pytest.raises(TensorsUndecodable):
            make().prepare(payload[:cut])
    accepted = 0
    for position in range(len(payload)):
        damaged = bytearray(payload)
        damaged[position] ^= 0x55
        try:
            found = make().prepare(bytes(damaged)).tensors["x"]
        except (TensorsUndecodable, TensorMismatch, TensorsTooLarge):
            continue
        accepted += 1  # times, attributes and the like
        assert np.array_equal(found, ROW)
    assert accepted < len(payload) / 2


def entry(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape: str, data: bytes = b"", descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy("(9999999999999, 9999999)"), "needs .* bytes, and 0 are there"),
        (npy("(-1, 2)"), "needs"),
        (npy("(1, 2, 3)", bytes(23)), "needs 24 bytes, and 23"),
        (npy("(1, 2, 3)", bytes(25)), "needs 24 bytes, and 25"),
        (npy("(1,)", bytes(8), "'|O'"), "Python objects"),
        (npy("(__import__('os').abort(),)"), "is not a NumPy array"),
        (npy("(1,)", descr="[('a', '<f4'), ('b', '|O')]"), "Python objects"),
        (b"\x93NUMPY\x09\x00", "not a NumPy array|unknown version"),
        (b"no array", "is not a NumPy array"),
    ],
)
def test_arrays_that_lie(content: bytes, words: str):
    with pytest.raises(TensorsUndecodable, match=words):
        make().prepare(entry("x.npy", content))


def test_a_bomb_is_refused_by_its_directory():
    payload = npz(True, x=np.zeros(50_000_000, np.uint8))
    assert len(payload) < 100_000
    tracemalloc.start()
    with pytest.raises(
        TensorsTooLarge, match=r"50,000,128 bytes when unpacked; the limit is 1,000"
    ):
        make(limits=Limits(max_bytes=1_000_000)).prepare(payload)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_directory_that_lies_about_a_bomb():
    payload = bytearray(npz(True, x=np.zeros(50_000_000, np.uint8)))
    directory = payload.rindex(b"PK\x01\x02")
    payload[directory + 24 : directory + 28] = struct.pack("<I", 500)
    tracemalloc.start()
    with pytest.raises(TensorsUndecodable, match="damaged"):
        make(limits=Limits(max_bytes=1_000_000)).prepare(bytes(payload))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_archive_that_is_itself_too_large():
    with pytest.raises(TensorsTooLarge, match="the limit is 100"):
        make(limits=Limits(max_bytes=100)).prepare(npz(x=ROW))


def test_countless_entries():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(MAX_ENTRIES + 1):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(TensorsTooLarge, match=f"more than {MAX_ENTRIES} entries"):
        read_npz(buffer.getvalue(), 10**9)


def test_methods_that_numpy_does_not_use_and_doubles():
    with pytest.raises(TensorsUndecodable, match="method that NumPy does not use"):
        make().prepare(entry("x.npy", npy("()"), zipfile.ZIP_LZMA))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy("()"))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy("()"))
    with pytest.raises(TensorsUndecodable, match="twice"):
        make().prepare(buffer.getvalue())


def test_results():
    outputs = (
        TensorSpec("b", DataType.BYTES, (-1, 2)),
        TensorSpec("a", DataType.FP32, (-1, 2)),
        TensorSpec("h", DataType.BF16, (-1, 1)),
        TensorSpec("t", DataType.BOOL, (-1, 1)),
    )
    texts = np.empty((1, 2), object)
    texts[0] = [b"x", b"\xff"]
    arrays = {
        "a": np.array([[1.5, -2]], np.float32),
        "b": texts,
        "h": np.array([[0.5]], ml_dtypes.bfloat16),
        "t": np.array([[True]]),
    }
    result = make(outputs=outputs).finish(arrays, None)
    assert result == TensorsResult(
        [
            TensorResult("b", "BYTES", [1, 2], ["x", "\\xff"]),
            TensorResult("a", "FP32", [1, 2], [1.5, -2.0]),
            TensorResult("h", "BF16", [1, 1], [0.5]),
            TensorResult("t", "BOOL", [1, 1], [True]),
        ]
    )
    assert msgspec.json.decode(msgspec.json.encode(result), type=TensorsResult) == result
