"""Detectors that give finished boxes, from the photo to the answer: sizes, scales, constants."""

import numpy as np
import pytest

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

WIDTH, HEIGHT = 200, 100
PHOTO = encoded(scene(WIDTH, HEIGHT), "PNG")
BOX = (20.0, 10.0, 60.0, 90.0)
"""In pixels of the photo."""


def spec(name: str, datatype: DataType, *shape: int) -> TensorSpec:
    return TensorSpec(name, datatype, shape)


def answer(pipeline: DetectionPipeline, outputs_of):
    prepared = pipeline.prepare(PHOTO)
    (found,) = pipeline.finish(outputs_of(prepared.tensors), prepared.context).detections
    return found.label, found.box


TORCHVISION = [
    spec("6379", DataType.FP32, -1, 4),
    spec("6381", DataType.INT64, -1),
    spec("6383", DataType.FP32, -1),
]


def torchvision(tensors, scale_x: float, scale_y: float):
    box = np.array(BOX, np.float32) * np.array((scale_x, scale_y) * 2, np.float32)
    return {
        "6379": box[None],
        "6381": np.array([2]),
        "6383": np.array([0.9], np.float32),
    }


def test_an_open_input_without_a_batch_as_in_the_onnx_model_zoo():
    """Faster R-CNN: image [3,height,width], and boxes in its pixels."""
    keys = {"resize": "proportional", "short_side": 80, "long_side": 133, "multiple": 32}
    section = PipelineSpec(task="detection", decoder="torchvision", color="bgr", **keys)
    image = spec("image", DataType.FP32, 3, -1, -1)
    pipeline = DetectionPipeline(section, [image], TORCHVISION, ["one", "two"], Limits())
    assert pipeline.prepare(PHOTO).tensors["image"].shape == (3, 64, 128)
    found = answer(pipeline, lambda tensors: torchvision(tensors, 128 / 200, 64 / 100))
    assert found == ("two", pytest.approx(BOX, abs=0.01))


def test_boxes_in_parts_of_an_open_input_have_no_unit():
    section = PipelineSpec(
        task="detection", decoder="torchvision", resize="proportional",
        decoder_options={"normalised": True},
    )  # fmt: skip
    image = spec("image", DataType.FP32, 1, 3, -1, -1)
    pipeline = DetectionPipeline(section, [image], TORCHVISION, [], Limits())
    with pytest.raises(PipelineInvalid, match="set size"):
        answer(pipeline, lambda tensors: torchvision(tensors, 1, 1))


def test_other_decoders_need_a_size():
    section = PipelineSpec(task="detection", decoder="yolo", resize="proportional")
    image = spec("image", DataType.FP32, 1, 3, -1, -1)
    output = spec("output0", DataType.FP32, 1, 84, -1)
    with pytest.raises(PipelineInvalid, match="the decoder 'yolo' needs one; set size"):
        DetectionPipeline(section, [image], [output], [], Limits())


def test_paddledetection_with_its_further_inputs():
    section = PipelineSpec(
        task="detection", decoder="paddledetection",
        constants={"scale_factor": [1.0, 1.0], "im_shape": [[320, 320]]},
    )  # fmt: skip
    inputs = [
        spec("im_shape", DataType.FP32, -1, 2),
        spec("image", DataType.FP32, -1, 3, 320, 320),
        spec("scale_factor", DataType.FP32, -1, 2),
    ]
    outputs = [spec("bbox", DataType.FP32, -1, 6), spec("bbox_num", DataType.INT32, -1)]
    pipeline = DetectionPipeline(section, inputs, outputs, ["one"], Limits())

    def run(tensors):
        """As the model does it: boxes in pixels of the input, divided by the scale (y, x)."""
        assert tensors["im_shape"].tolist() == [[320, 320]]
        scale_y, scale_x = tensors["scale_factor"][0]
        box = np.array(BOX) * np.tile((320 / WIDTH, 320 / HEIGHT), 2)
        rows = np.array([[0, 0.9, *(box / np.tile((scale_x, scale_y), 2))]], np.float32)
        return {"bbox": rows, "bbox_num": np.array([1], np.int32)}

    assert answer(pipeline, run) == ("one", pytest.approx(BOX, abs=0.01))


def test_rt_detr_with_its_post_processing():
    section = PipelineSpec(
        task="detection", decoder="detr", constants={"orig_target_sizes": [[640, 640]]}
    )
    inputs = [
        spec("images", DataType.FP32, -1, 3, 640, 640),
        spec("orig_target_sizes", DataType.INT64, -1, 2),
    ]
    outputs = [
        spec("labels", DataType.INT64, -1, 300),
        spec("boxes", DataType.FP32, -1, 300, 4),
        spec("scores", DataType.FP32, -1, 300),
    ]
    pipeline = DetectionPipeline(section, inputs, outputs, ["zero", "one"], Limits())

    def run(tensors):
        sizes = tensors["orig_target_sizes"]
        assert sizes.dtype == np.int64
        boxes = np.zeros((1, 300, 4), np.float32)
        parts = np.array(BOX) / (WIDTH, HEIGHT, WIDTH, HEIGHT)
        boxes[0, 3] = parts * np.tile(sizes[0], 2)
        scores = np.zeros((1, 300), np.float32)
        scores[0, 3] = 0.8
        return {"labels": np.ones((1, 300), np.int64), "boxes": boxes, "scores": scores}

    assert answer(pipeline, run) == ("one", pytest.approx(BOX, abs=0.01))
