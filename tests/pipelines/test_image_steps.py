"""The single steps that a vendor's own class may use: resize, normalise, perspective crop."""

import numpy as np
import pytest

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image import (
    decode_image,
    perspective_crop,
    resize_image,
    to_tensor,
)
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

PIXELS = scene(60, 40)
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_the_steps_together_equal_the_built_in_preparation(interpolation, color):
    numbers = {"mean": MEAN, "std": STD} if color != "gray" else {"mean": (9.0,), "std": (3.0,)}
    spec = PipelineSpec(task="image", color=color, interpolation=interpolation, **numbers)
    channels = 1 if color == "gray" else 3
    tensor = TensorSpec("x", DataType.FP32, (1, channels, 32, 24))
    payload = encoded(PIXELS, "PNG")
    expected, _ = ImageInput.create(spec, [tensor], Limits()).prepare(payload)

    pixels = resize_image(decode_image(payload, color, Limits()), 24, 32, interpolation)
    found = to_tensor(pixels, **numbers)
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected["x"])


def test_layout_and_datatype():
    found = to_tensor(PIXELS, std=255, layout="nhwc", dtype=np.float16)
    assert found.shape == (1, 40, 60, 3)
    assert found.dtype == np.float16
    assert np.array_equal(found[0], (PIXELS.astype(np.float32) / 255).astype(np.float16))


def test_a_crop_of_upright_corners_is_a_slice():
    corners = [(10, 5), (50, 5), (50, 30), (10, 30)]
    assert np.array_equal(perspective_crop(PIXELS, corners, 40, 25), PIXELS[5:30, 10:50])
    grey = PIXELS[:, :, :1]
    assert np.array_equal(perspective_crop(grey, corners, 40, 25), grey[5:30, 10:50])


def test_a_crop_of_turned_corners_is_turned_back():
    corners = [(50, 5), (50, 30), (10, 30), (10, 5)]  # top left is where top right was
    found = perspective_crop(PIXELS, corners, 25, 40)
    assert np.array_equal(found, np.rot90(PIXELS[5:30, 10:50]))


def test_a_crop_straightens_a_trapezium():
    ramp = np.tile((2 * np.arange(100)).astype(np.uint8)[None, :, None], (100, 1, 1))
    found = perspective_crop(ramp, [(20, 10), (80, 10), (95, 90), (5, 90)], 50, 50).astype(int)
    assert found[0, 0, 0] == pytest.approx(40, abs=2)
    assert found[0, -1, 0] == pytest.approx(160, abs=3)
    assert found[-1, 0, 0] == pytest.approx(10, abs=4)
    assert found[-1, -1, 0] == pytest.approx(188, abs=4)


def test_corners_on_one_line_are_refused():
    with pytest.raises(ValueError, match="one line"):
        perspective_crop(PIXELS, [(0, 0), (0, 0), (0, 0), (0, 0)], 5, 5)
