"""From encoded images to a model's input: numbers, layouts, datatypes, and faults of the spec."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, noise, scene

SAMPLE = Path(__file__).parents[2] / "samples" / "classification"
PIXELS = scene(12, 8)
PNG = encoded(PIXELS, "PNG")
MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def make(shape=(1, 3, 8, 12), datatype=DataType.FP32, **keys) -> ImageInput:
    spec = PipelineSpec(task="classification", **keys)
    return ImageInput.create(spec, [TensorSpec("x", datatype, shape)], Limits())


def tensor(data: bytes = PNG, **keys) -> np.ndarray:
    tensors, _ = make(**keys).prepare(data)
    assert list(tensors) == ["x"]
    array = tensors["x"]
    assert array.flags.c_contiguous
    return array


def expected(color: str) -> np.ndarray:
    """(H, W, C) float32, by the formula."""
    ordered = PIXELS[:, :, ::-1] if color == "bgr" else PIXELS
    return (ordered.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_formula_to_the_bit(color):
    planar = tensor(color=color, mean=MEAN, std=STD)
    assert planar.dtype == np.float32
    assert np.array_equal(planar[0], expected(color).transpose(2, 0, 1))
    packed = tensor(shape=(-1, 8, 12, 3), layout="nhwc", color=color, mean=MEAN, std=STD)
    assert np.array_equal(packed[0], expected(color))


def test_grey():
    data = encoded(PIXELS[:, :, 1], "PNG")
    found = tensor(data, shape=(1, 1, 8, 12), color="gray", mean=(10.0,), std=(2.0,))
    assert np.array_equal(found[0, 0], (PIXELS[:, :, 1].astype(np.float32) - 10) / 2)
    assert tensor(data, shape=(1, 8, 12, 1), layout="nhwc", color="gray").shape == (1, 8, 12, 1)


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [
        (DataType.FP16, np.float16),
        (DataType.BF16, ml_dtypes.bfloat16),
        (DataType.FP64, np.float64),
    ],
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_floating_datatypes(datatype, dtype, layout):
    shape = (1, 3, 8, 12) if layout == "nchw" else (1, 8, 12, 3)
    found = tensor(shape=shape, datatype=datatype, layout=layout, mean=MEAN, std=STD)
    assert found.dtype == dtype
    pixels = PIXELS if layout == "nhwc" else PIXELS.transpose(2, 0, 1)
    axis = (1, 1, 3) if layout == "nhwc" else (3, 1, 1)
    work = np.float64 if datatype is DataType.FP64 else np.float32
    numbers = [np.array(each, work).reshape(axis) for each in (MEAN, STD)]
    assert np.array_equal(found[0], ((pixels.astype(work) - numbers[0]) / numbers[1]).astype(dtype))


def test_whole_numbers():
    assert np.array_equal(tensor(datatype=DataType.UINT8)[0], PIXELS.transpose(2, 0, 1))
    signed = tensor(datatype=DataType.INT8, mean=(128.0,))
    assert np.array_equal(signed[0], PIXELS.transpose(2, 0, 1).astype(int) - 128)
    halves = tensor(datatype=DataType.INT32, std=(2.0,))
    assert np.array_equal(halves[0], np.rint(PIXELS.transpose(2, 0, 1) / 2))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("datatype", [DataType.FP32, DataType.FP16, DataType.UINT8])
def test_the_border_of_a_letterbox_is_normalised_too(layout, datatype):
    mean, std = ((0.0,), (1.0,)) if datatype is DataType.UINT8 else (MEAN, STD)
    shape = (1, 3, 40, 24) if layout == "nchw" else (1, 40, 24, 3)
    keys = {"shape": shape, "layout": layout, "datatype": datatype, "resize": "letterbox"}
    found = tensor(**keys, mean=mean, std=std)[0]
    rows = found if layout == "nhwc" else found.transpose(1, 2, 0)
    # 12x8 becomes 24x16, with 12 rows of grey 114 above and below.
    border = ((np.float32(114) - np.float32(mean)) / np.float32(std)).astype(found.dtype)
    assert (rows[:12] == border).all()
    assert (rows[28:] == border).all()
    assert not (rows[12:28] == border).all(axis=(1, 2)).any()


def test_many_threads_at_once():
    model = make(shape=(-1, 3, 32, 32), resize="letterbox", mean=MEAN, std=STD)
    pictures = [encoded(noise(50, 40, seed), "JPEG") for seed in range(6)]
    serial = [model.prepare(picture)[0]["x"] for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        parallel = list(pool.map(lambda data: model.prepare(data)[0]["x"], pictures * 8))
    for index, array in enumerate(parallel):
        assert np.array_equal(array, serial[index % 6])


def test_size_is_for_models_that_leave_it_open():
    model = make(shape=(-1, 3, -1, -1), size=(20, 30))
    assert (model.height, model.width) == (20, 30)
    assert model.prepare(PNG)[0]["x"].shape == (1, 3, 20, 30)
    assert make(shape=(-1, -1, 8, 12)).width == 12


FAULTS = {
    "size is missing": ({"shape": (1, 3, -1, -1)}, r"for example size = \[640, 640\]"),
    "size contradicts": ({"size": (9, 12)}, "asks for a height of 9, .* has 8; leave size out"),
    "layout": ({"shape": (1, 224, 224, 3)}, 'set layout = "nhwc"'),
    "other layout": ({"layout": "nhwc", "shape": (1, 3, 224, 224)}, 'set layout = "nchw"'),
    "grey model": ({"shape": (1, 1, 28, 28)}, 'set color = "gray"'),
    "grey image": ({"color": "gray"}, 'set color = "rgb" or "bgr"'),
    "four channels": ({"shape": (1, 4, 28, 28)}, "has 4; write a pipeline of your own"),
    "rank": ({"shape": (3, 8, 12)}, "4 dimensions .* export it with a batch dimension"),
    "batch": ({"shape": (4, 3, 8, 12)}, "fixed batch of 4; export the model with a dynamic"),
    "datatype": ({"datatype": DataType.INT64}, "cannot be turned into INT64"),
    "mean": ({"mean": (1.0, 2.0)}, "mean has 2 numbers .* 3 channels; give 1 or 3"),
    "std": ({"std": (1.0, 0.0, 1.0)}, "std above 0"),
    "not a number": ({"mean": (float("nan"),) * 3}, "must be numbers"),
    "range": ({"datatype": DataType.UINT8, "mean": (9.0,)}, "values from -9 to 246, which UINT8"),
    "input": ({"input": "y"}, "input = 'y': the model has no such input"),
    "short side": (
        {"resize": "short_side_crop", "short_side": 5},
        "short_side = 5 is less than .* use at least 12",
    ),
    "needless short side": ({"short_side": 64}, "short_side is for resize = 'short_side_crop'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_key_and_the_cure(fault: str):
    keys, words = FAULTS[fault]
    with pytest.raises(PipelineInvalid, match=words):
        make(**keys)


def test_a_second_input_needs_a_pipeline_of_its_own():
    image = TensorSpec("pixels", DataType.FP32, (1, 3, 8, 8))
    mask = TensorSpec("mask", DataType.INT64, (1, 8, 8))
    spec = PipelineSpec(task="detection", input="pixels")
    with pytest.raises(PipelineInvalid, match=r"left unfilled: mask INT64 .*template custom"):
        ImageInput.create(spec, [image, mask], Limits())
    assert ImageInput.create(spec, [image], Limits()).tensor is image


def test_the_recipe_of_the_sample_classifier():
    """Bicubic, short side 256, crop 224, (x - 127) / 128: a cup of espresso, said the authors."""
    model = make(
        shape=(-1, 3, 224, 224),
        resize="short_side_crop",
        short_side=256,
        interpolation="bicubic",
        mean=(127.0,),
        std=(128.0,),
    )
    session = onnxruntime.InferenceSession(SAMPLE / "models" / "efficientnet-lite0-224.onnx")
    tensors, _ = model.prepare((SAMPLE / "golden" / "coffee.png").read_bytes())
    logits = session.run(None, {session.get_inputs()[0].name: tensors["x"]})[0][0]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    labels = json.loads((SAMPLE / "models" / "imagenet.json").read_text())
    assert labels[int(scores.argmax())] == "espresso"
    assert scores.max() >= 0.9
