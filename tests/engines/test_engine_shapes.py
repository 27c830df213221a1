import numpy as np
import pytest

from enginecrate.cuda.arrays import is_device_array, read_foreign
from enginecrate.cuda.dlpack import CPU, read_capsule
from enginecrate.engines.onnxruntime.shapes import ShapeRule, padded_batch


def test_batches_are_filled_up_to_few_sizes():
    assert [padded_batch(batch, 32) for batch in range(1, 14)] == [
        1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16,
    ]  # fmt: skip
    for largest in (1, 5, 7, 32, 100):
        for batch in range(1, largest + 1):
            padded = padded_batch(batch, largest)
            assert batch <= padded <= largest
            assert padded - batch < max(batch, 2)  # the rows to fill up with are there


def rule(x: list, y: list, *, batched: bool = False) -> ShapeRule:
    return ShapeRule({"x": x}, {"y": y}, batched=batched)


@pytest.mark.parametrize(
    ("x", "y", "batched", "known"),
    [
        (["n", 3], ["n", 4], False, True),
        (["n", 3], ["m", 4], True, True),
        (["n", 3], ["m", 4], False, False),
        (["n", 3], [None, 4], True, True),
        (["n", 3], ["n", None], True, False),
        (["n", "h"], ["h", "n"], False, True),
        ([2, 3], [2, 4], False, True),
        (["n", 3], [], False, True),
    ],
)
def test_outputs_are_known_when_inputs_decide_them(x: list, y: list, batched: bool, known: bool):
    assert rule(x, y, batched=batched).known == known


def test_shapes_of_outputs():
    assert rule(["n", "h"], ["h", "n", 7]).outputs({"x": (2, 5)}) == {"y": (5, 2, 7)}
    assert rule(["n", 3], ["m", 4], batched=True).outputs({"x": (6, 3)}) == {"y": (6, 4)}
    assert rule([1, 3], [], batched=False).outputs({"x": (1, 3)}) == {"y": ()}


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i1", "i8", "u2", "?"])
def test_dlpack_capsules_are_read(dtype: str):
    array = np.zeros((2, 3, 4), dtype)
    tensor = read_capsule(array.__dlpack__())
    assert tensor.pointer == array.ctypes.data
    assert (tensor.shape, tensor.dtype, tensor.device) == ((2, 3, 4), array.dtype, 0)
    assert array.__dlpack_device__() == (CPU, 0)
    view = array[:, ::2]
    assert read_capsule(view.__dlpack__()).strides == (12, 8, 1)
    offset = read_capsule(array[1].__dlpack__())
    assert offset.pointer == array[1].ctypes.data


def test_complex_numbers_have_no_counterpart():
    tensor = read_capsule(np.zeros(2, np.complex64).__dlpack__())
    assert tensor.dtype is None
    assert "64 bits" in tensor.code


def test_what_is_no_capsule_is_refused():
    with pytest.raises(ValueError, match="PyCapsule"):
        read_capsule(object())


def test_arrays_of_the_host_and_of_devices():
    assert not is_device_array(np.zeros(1))
    assert not is_device_array([1])

    class Interface:
        __cuda_array_interface__ = {  # noqa: RUF012 -- as the protocol says
            "version": 2, "shape": (2,), "typestr": "<f4", "data": (4096, False),
        }  # fmt: skip

    assert is_device_array(Interface())
    found = read_foreign("x", Interface())
    assert (found.pointer, found.shape, found.nbytes) == (4096, (2,), 8)
    assert found.stream == 1  # before version 3: the default stream, to be sure
