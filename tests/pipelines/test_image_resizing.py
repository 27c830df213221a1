"""Resizing against OpenCV, and against the textbook where OpenCV aliases."""

import cv2
import numpy as np
import pytest
from PIL import Image

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.placement import place
from enginecrate.pipelines.resize import shrink_by_area
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, noise, scene, with_orientation

RESIZES = ("stretch", "letterbox", "short_side_crop")


def resized(data: bytes, height: int, width: int, **keys) -> np.ndarray:
    """The model's input, as (H, W, 3) pixels."""
    spec = PipelineSpec(task="classification", layout="nhwc", **keys)
    tensor = TensorSpec("x", DataType.UINT8, (1, height, width, 3))
    tensors, _ = ImageInput.create(spec, [tensor], Limits()).prepare(data)
    return tensors["x"][0].astype(int)


def textbook(
    pixels: np.ndarray, height: int, width: int, interpolation: str, passes: str
) -> np.ndarray:
    """Separable resampling whose filter is widened when it shrinks, written with matrices.

    As is custom, there are 8 bits between the two passes, so their order shows in the overshoot
    of the bicubic filter.
    """
    support, weight = {
        "bilinear": (1.0, lambda x: np.maximum(0, 1 - x)),
        "bicubic": (2.0, lambda x: np.where(x < 1, (1.5 * x - 2.5) * x * x + 1,
                                            ((-0.5 * x + 2.5) * x - 4) * x + 2)),
    }[interpolation]  # fmt: skip

    def matrix(old: int, new: int) -> np.ndarray:
        scale = old / new
        wide = max(scale, 1.0)
        centre = (np.arange(new)[:, np.newaxis] + 0.5) * scale
        distance = np.abs(np.arange(old) + 0.5 - centre) / wide
        weights = np.where(distance < support, weight(distance), 0)
        return weights / weights.sum(axis=1, keepdims=True)

    result = pixels.astype(float)
    for axis in passes:
        if axis == "y":
            result = np.einsum("yr,rcd->ycd", matrix(len(pixels), height), result)
        else:
            result = np.einsum("xc,ycd->yxd", matrix(pixels.shape[1], width), result)
        result = np.floor(np.clip(result, 0, 255) + 0.5)
    return result


@pytest.mark.parametrize("size", [(48, 64), (31, 77), (100, 150), (20, 200)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_filters_follow_the_textbook(interpolation: str, size: tuple[int, int]):
    pixels = noise(96, 64)
    found = resized(encoded(pixels, "PNG"), *size, interpolation=interpolation)
    differences = [
        np.abs(found - textbook(pixels, *size, interpolation, passes)).max()
        for passes in ("xy", "yx")
    ]
    assert min(differences) <= 1


def test_enlarging_bilinear_as_opencv():
    pixels = noise(40, 30)
    found = resized(encoded(pixels, "PNG"), 90, 100, interpolation="bilinear")
    assert np.abs(found - cv2.resize(pixels, (100, 90))).max() <= 1


@pytest.mark.parametrize("size", [(20, 30), (100, 50), (33, 47)])
def test_nearest_as_opencv(size: tuple[int, int]):
    pixels = noise(60, 40)
    found = resized(encoded(pixels, "PNG"), *size, interpolation="nearest")
    theirs = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(found, theirs)


@pytest.mark.parametrize("size", [(32, 48), (31, 47), (7, 5), (64, 96), (1, 1), (40, 96)])
def test_area_as_opencv(size: tuple[int, int]):
    pixels = noise(96, 64)
    found = resized(encoded(pixels, "PNG"), *size, interpolation="area")
    theirs = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found - theirs).max() <= 1


def test_area_of_a_part_with_fractions():
    pixels = noise(50, 40)
    fine = np.kron(pixels, np.ones((10, 10, 1), np.uint8))  # each pixel 10 x 10
    part = fine[25:325, 13:463].astype(float)
    means = part.reshape(12, 25, 18, 25, 3).mean(axis=(1, 3))
    found = shrink_by_area(pixels, (1.3, 2.5, 46.3, 32.5), (18, 12))
    assert np.abs(found - means).max() <= 0.51


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_a_large_jpeg_is_decoded_at_a_fraction_and_hardly_differs(interpolation: str):
    tile = scene(160, 120)
    pixels = np.tile(tile, (8, 8, 1)) // 2 + noise(1280, 960) // 4
    data = encoded(pixels, "JPEG", quality=90)
    whole = encoded(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), "PNG")
    fast = resized(data, 120, 160, interpolation=interpolation)
    slow = resized(whole, 120, 160, interpolation=interpolation)
    difference = np.abs(fast - slow)
    assert difference.any(), "the fraction was not used"
    assert difference.max() <= 8
    assert difference.mean() <= 1


def test_nearest_never_takes_a_fraction():
    data = encoded(noise(800, 800), "JPEG")
    whole = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    theirs = cv2.resize(whole, (50, 50), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(resized(data, 50, 50, interpolation="nearest"), theirs)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "area"])
def test_orientation_and_resize(orientation: int, resize: str, interpolation: str):
    """Resizing the stored pixels and turning them is the same as turning and then resizing."""
    stored = Image.fromarray(scene(101, 67))
    oriented = with_orientation(stored, orientation, "PNG")
    operation = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    turned = stored.transpose(operation[orientation]) if orientation > 1 else stored
    keys = {"resize": resize, "interpolation": interpolation}
    found = resized(oriented, 40, 50, **keys)
    expected = resized(encoded(turned, "PNG"), 40, 50, **keys)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_a_fraction_whose_rest_is_padding(orientation: int):
    """At 1/8 a JPEG of 1001 pixels has 126, of which the last holds 1/8 of a pixel."""
    stored = Image.fromarray(cv2.resize(scene(96, 64), (1001, 999)))
    data = with_orientation(stored, orientation, "JPEG", quality=95)
    upright = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    difference = np.abs(resized(data, 48, 50) - resized(encoded(upright, "PNG"), 48, 50))
    assert difference.max() <= 3


def spec(resize: str, **keys) -> PipelineSpec:
    return PipelineSpec(task="detection", resize=resize, **keys)


def test_letterbox_is_placed_as_ultralytics_does():
    # 640x427 into 416x416: ratio 0.65, 277.55 rows, 69 rows of border above.
    placed = place(spec("letterbox"), (640, 427), (416, 416))
    assert (placed.width, placed.height, placed.left, placed.top) == (416, 278, 0, 69)
    assert placed.geometry == Geometry(640, 427, 0.65, 278 / 427, 0.0, 69.0)


@pytest.mark.parametrize(
    ("image", "model", "begins"),
    [((100, 50), (100, 101), (0, 25)), ((50, 100), (101, 100), (25, 0))],
)
def test_an_odd_border_is_smaller_above_and_on_the_left(
    image: tuple[int, int], model: tuple[int, int], begins: tuple[int, int]
):
    """51 pixels of border: Ultralytics puts round(25.5 - 0.1) before, round(25.5 + 0.1) after."""
    placed = place(spec("letterbox"), image, model)
    assert (placed.left, placed.top) == begins
    assert (placed.geometry.offset_x, placed.geometry.offset_y) == begins


def test_short_side_crop_is_placed_as_torchvision_does():
    # Resize(256) gives 383x256, CenterCrop(224) takes 80..304 (79.5 rounds to even) and 16..240.
    placed = place(spec("short_side_crop", short_side=256), (640, 427), (224, 224))
    geometry = placed.geometry
    assert (geometry.offset_x, geometry.offset_y) == (-80, -16)
    assert (geometry.scale_x, geometry.scale_y) == (383 / 640, 256 / 427)
    assert placed.source == (80 / 383, 16 / 256, 304 / 383, 240 / 256)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("image", [(640, 427), (300, 900), (1, 1), (1, 500), (5000, 3)])
@pytest.mark.parametrize("model", [(416, 416), (320, 192), (96, 64)])
def test_places_lie_within(resize: str, image: tuple[int, int], model: tuple[int, int]):
    placed = place(spec(resize), image, model)
    assert 0 <= placed.left <= placed.left + placed.width <= model[0]
    assert 0 <= placed.top <= placed.top + placed.height <= model[1]
    assert min(placed.source) >= 0
    assert max(placed.source) <= 1
    if resize != "letterbox":
        assert (placed.width, placed.height) == model


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("image", [(200, 120), (90, 250)])
def test_a_box_is_found_again(resize: str, image: tuple[int, int]):
    """Draw a white box, prepare, look where it is in the tensor, map that back."""
    width, height = image
    box = (width // 2 - 20, height // 2 - 15, width // 2 + 25, height // 2 + 10)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    keys = {"resize": resize, "pad_value": 0, "layout": "nhwc"}
    model = ImageInput.create(
        PipelineSpec(task="detection", **keys),
        [TensorSpec("x", DataType.UINT8, (1, 160, 128, 3))],
        Limits(),
    )
    tensors, geometry = model.prepare(encoded(pixels, "PNG"))
    rows, columns = np.nonzero(tensors["x"][0, :, :, 0] >= 128)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    pixel = 1 / min(geometry.scale_x, geometry.scale_y)  # one of the model's, in the image's
    assert np.abs(geometry.boxes_to_image([seen])[0] - box).max() <= max(1.0, pixel) / 2 + 0.01


def test_boxes_are_clipped_to_the_image():
    geometry = Geometry(100, 50, 2.0, 2.0, 0.0, 30.0)
    boxes = geometry.boxes_to_image([[-10, 0, 500, 500], [20, 40, 60, 80], [0, 0, 10, 20]])
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 100, 50], [10, 5, 30, 25], [0, 0, 5, 0]]
    assert geometry.boxes_to_image(np.empty((0, 4))).shape == (0, 4)
