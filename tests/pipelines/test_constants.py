"""Values for a model's further inputs: datatype and shape are the input's; faults say the cure."""

import numpy as np
import pytest

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.constants import usual_constants
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

IMAGE = TensorSpec("image", DataType.FP32, (-1, 3, 32, 48))
PNG = encoded(scene(12, 8), "PNG")


def prepared(other: TensorSpec, value: object, **keys) -> np.ndarray:
    spec = PipelineSpec(task="detection", constants={other.name: value}, **keys)
    tensors, _ = ImageInput.create(spec, [other, IMAGE], Limits()).prepare(PNG)
    assert list(tensors) == ["image", other.name]
    assert tensors["image"].shape == (1, 3, 32, 48)
    return tensors[other.name]


@pytest.mark.parametrize(
    ("datatype", "shape", "value", "expected"),
    [
        (DataType.FP32, (-1, 2), [[1.0, 2]], [[1, 2]]),
        (DataType.FP32, (1, 2), [0.5, 2.0], [[0.5, 2]]),
        (DataType.FP32, (1, 2), 3, [[3, 3]]),
        (DataType.FP16, (), 0.25, 0.25),
        (DataType.INT64, (), 16000, 16000),
        (DataType.INT64, (1,), 16000.0, [16000]),
        (DataType.INT64, (1,), [16000], [16000]),
        (DataType.INT64, (-1, 2), [640, 480], [[640, 480]]),
        (DataType.BOOL, (1, 1), [[True]], [[True]]),
        (DataType.FP32, (2, -1), [[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]),
        (DataType.UINT8, (1, 1, 2), [[7, 255]], [[[7, 255]]]),
    ],
)
def test_a_value_takes_the_inputs_datatype_and_shape(datatype, shape, value, expected):
    found = prepared(TensorSpec("extra", datatype, shape), value)
    assert found.dtype == datatype.numpy
    assert found.tolist() == expected
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("datatype", "shape", "value", "words"),
    [
        (DataType.FP32, (-1, 2), [1.0, 2.0, 3.0],
         r"shape \[3\], and .* needs \[1, 2\].*constants = \{ extra = \[\[0\.0, 0\.0\]\] \}"),
        (DataType.FP32, (-1, 2), [[1.0], [2.0]],
         r"constants = \{ extra = \[\[1\.0, 2\.0\]\] \}"),
        (DataType.INT64, (1,), [0.5], r"whole numbers"),
        (DataType.UINT8, (1,), [300], r"must lie in 0\.\.255"),
        (DataType.FP32, (1, 2), [[1.0], [2.0, 3.0]], r"equally long lists"),
        (DataType.FP32, (1,), [], r"equally long lists"),
        (DataType.FP32, (1,), ["a"], r"equally long lists"),
        (DataType.FP32, (1,), [True], r"must hold numbers"),
        (DataType.BOOL, (1,), [1], r"true or false.*extra = \[false\]"),
        (DataType.FP32, (1,), [float("nan")], r"finite"),
        (DataType.BYTES, (1,), 1, r"text"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_the_line_to_write(datatype, shape, value, words):
    with pytest.raises(PipelineInvalid, match=words):
        prepared(TensorSpec("extra", datatype, shape), value)


def test_a_missing_value_is_named_with_the_line_to_write():
    scale = TensorSpec("scale_factor", DataType.FP32, (-1, 2))
    size = TensorSpec("im_shape", DataType.FP32, (-1, 2))
    with pytest.raises(PipelineInvalid) as caught:
        ImageInput.create(PipelineSpec(task="detection"), [size, IMAGE, scale], Limits())
    words = str(caught.value)
    assert "constants = { im_shape = [[32.0, 48.0]], scale_factor = [[1.0, 1.0]] }" in words
    assert "left unfilled: im_shape FP32 [-1,2], scale_factor FP32 [-1,2]" in words


def test_a_value_without_an_input_suggests_the_nearest():
    scale = TensorSpec("scale_factor", DataType.FP32, (-1, 2))
    spec = PipelineSpec(task="image", constants={"scale_facter": 1.0})
    with pytest.raises(PipelineInvalid, match=r"no further input 'scale_facter'.*scale_factor"):
        ImageInput.create(spec, [IMAGE, scale], Limits())


def test_the_image_input_cannot_be_a_constant():
    with pytest.raises(PipelineInvalid, match="constants leave none"):
        ImageInput.create(PipelineSpec(task="image", constants={"image": 1.0}), [IMAGE], Limits())
    spec = PipelineSpec(task="image", input="image", constants={"image": 1.0})
    with pytest.raises(PipelineInvalid, match="no further input 'image'"):
        ImageInput.create(spec, [IMAGE], Limits())


def test_two_images_need_a_name():
    second = TensorSpec("mask", DataType.FP32, (-1, 1, 32, 48))
    with pytest.raises(PipelineInvalid, match=r"several may be it.*input = \"image\""):
        ImageInput.create(PipelineSpec(task="image"), [IMAGE, second], Limits())
    spec = PipelineSpec(task="image", input="image", constants={"mask": 0})
    tensors, _ = ImageInput.create(spec, [IMAGE, second], Limits()).prepare(PNG)
    assert tensors["mask"].shape == (1, 1, 32, 48)
    with pytest.raises(PipelineInvalid, match=r"constants = \{ mask = 0\.0 \}"):
        ImageInput.create(PipelineSpec(task="image", input="image"), [IMAGE, second], Limits())


def test_usual_values_by_name():
    others = [
        TensorSpec("orig_target_sizes", DataType.INT64, (-1, 2)),
        TensorSpec("flag", DataType.BOOL, (1,)),
    ]
    assert usual_constants(others, (32, 48)) == {
        "orig_target_sizes": [[48, 32]],
        "flag": [False],
    }
