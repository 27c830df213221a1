"""Task `image`: a photo in, the model's own tensors out."""

import msgspec
import numpy as np
import pytest

from enginecrate.errors import ImageFormatUnsupported, PipelineInvalid
from enginecrate.pipelines.base import Limits, TensorsResult
from enginecrate.pipelines.contract import check_contract
from enginecrate.pipelines.image_tensors import ImagePipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

OUTPUTS = [
    TensorSpec("map", DataType.FP32, (-1, 1, -1, -1)),
    TensorSpec("embedding", DataType.FP16, (-1, 2)),
]


def make(shape=(-1, 3, 8, 12), **keys) -> ImagePipeline:
    spec = PipelineSpec(task="image", **keys)
    return ImagePipeline(spec, [TensorSpec("x", DataType.FP32, shape)], OUTPUTS, (), Limits())


def run(tensors):
    image = tensors["x"]
    return {
        "map": image.mean(axis=1, keepdims=True),
        "embedding": image.mean(axis=(2, 3))[:, :2].astype(np.float16),
    }


def test_the_tensors_come_out_as_they_are():
    pixels = scene(24, 8)
    pipeline = make(resize="letterbox", std=(255.0,))
    prepared = pipeline.prepare(encoded(pixels, "PNG"))
    outputs = run(prepared.tensors)
    result = pipeline.finish(outputs, prepared.context)
    assert [(one.name, one.datatype, one.shape) for one in result.outputs] == [
        ("map", "FP32", [1, 1, 8, 12]),
        ("embedding", "FP16", [1, 2]),
    ]
    assert result.outputs[0].data == outputs["map"].ravel().tolist()
    image = result.image
    assert (image.width, image.height, image.scale, image.offset) == (24, 8, (0.5, 0.5), (0.0, 2.0))
    decoded = msgspec.json.decode(msgspec.json.encode(result), type=TensorsResult)
    assert decoded == result


def test_it_keeps_the_contract():
    specs = [TensorSpec("x", DataType.FP32, (-1, 3, 8, 12))]
    check_contract(make(), encoded(scene(12, 8), "PNG"), specs, run)
    with pytest.raises(ImageFormatUnsupported):
        make().prepare(b"no photo")


@pytest.mark.parametrize(
    ("shape", "photo", "keys", "expected"),
    [
        ((-1, 3, -1, -1), (100, 60), {}, (60, 100)),
        ((-1, 3, -1, -1), (100, 60), {"multiple": 32}, (64, 96)),
        ((-1, 3, -1, -1), (100, 60), {"short_side": 120, "multiple": 32}, (128, 192)),
        ((-1, 3, -1, -1), (100, 60), {"long_side": 50}, (30, 50)),
        ((-1, 3, -1, -1), (100, 60), {"short_side": 60, "long_side": 80}, (48, 80)),
        ((-1, 3, -1, -1), (4000, 4), {}, (2, 2048)),
        ((-1, 3, 48, -1), (100, 60), {}, (48, 80)),
        ((-1, 3, 48, -1), (100, 60), {"multiple": 32}, (48, 64)),
        ((-1, 3, -1, 50), (100, 60), {}, (30, 50)),
        ((-1, 3, 48, -1), (9000, 48), {}, (48, 2048)),
    ],
)
def test_an_open_input_follows_the_photo(shape, photo, keys, expected):
    pipeline = make(shape, resize="proportional", **keys)
    prepared = pipeline.prepare(encoded(scene(*photo), "PNG"))
    array = prepared.tensors["x"]
    assert array.shape == (1, 3, *expected)
    result = pipeline.finish(run(prepared.tensors), prepared.context)
    assert result.image.scale == pytest.approx((expected[1] / photo[0], expected[0] / photo[1]))
    assert result.image.offset == (0, 0)


def test_an_unresized_photo_keeps_its_pixels():
    pixels = scene(40, 30)
    array = make((1, 3, -1, -1), resize="proportional").prepare(encoded(pixels, "PNG")).tensors["x"]
    assert np.array_equal(array[0], pixels.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "keys", "words"),
    [
        ((-1, 3, -1, -1), {}, r"size = \[640, 640\], or resize = \"proportional\""),
        ((-1, 3, 8, 8), {"resize": "proportional"}, "the model fixes it to 8x8"),
        ((-1, 3, -1, -1), {"resize": "proportional", "size": (8, 8)}, "or remove size"),
        ((-1, 3, 8, 8), {"multiple": 32}, "multiple is for resize = 'proportional'"),
        ((-1, 3, 8, 8), {"long_side": 32}, "long_side is for resize = 'proportional'"),
    ],
)
def test_keys_that_do_not_fit_are_named(shape, keys, words):
    with pytest.raises(PipelineInvalid, match=words):
        make(shape, **keys)
