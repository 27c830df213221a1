"""The forms in which detectors give their boxes: known boxes go in, and the same come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.registry import create_decoder, unknown_decoder
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

SIZE = 640
KNOWN = [((100.0, 50.0, 200.0, 150.0), 0.9, 3), ((300.0, 310.0, 420.0, 600.0), 0.8, 0)]
"""Box in pixels of the model's input, score, class."""


def head(outputs: Mapping[str, Any], labels: int = 0, **shapes: tuple[int, ...]) -> Head:
    """The head of a model with these outputs; `shapes`: as the export states them, if otherwise."""
    specs = [
        TensorSpec(name, DataType.of(array.dtype), shapes.get(name, array.shape))
        for name, array in outputs.items()
    ]
    return Head(specs, SIZE, SIZE, labels)


def found(name: str, outputs: dict[str, Any], model: Head | None = None, **options: Any):
    decoder = create_decoder(name, options, model or head(outputs))
    seen = decoder.decode(outputs, 0.4)
    order = np.argsort(-seen.scores)
    assert seen.suppressed or decoder.needs_nms or name != "yolo"
    return [
        (tuple(box), pytest.approx(score, abs=1e-5), int(label))
        for box, score, label in zip(
            seen.boxes[order].astype(float).round(3).tolist(),
            seen.scores[order].tolist(),
            seen.classes[order].tolist(),
            strict=True,
        )
    ]


def centred(box: tuple[float, ...]) -> list[float]:
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]


def table(rows: int, classes: int, more: int = 0, *, objectness: bool = False) -> np.ndarray:
    """(1, rows, channels) with the known boxes in two rows."""
    lead = 5 if objectness else 4
    made = np.zeros((1, rows, lead + classes + more), np.float32)
    for row, (box, score, label) in zip((7, rows - 3), KNOWN, strict=True):
        made[0, row, :4] = centred(box)
        made[0, row, 4] = 1.0 if objectness else 0.0
        made[0, row, lead + label] = score
        made[0, row, lead + classes :] = 5.0  # must not be read
    return made


def end2end(rows: int = 300, more: int = 0) -> np.ndarray:
    made = np.zeros((1, rows, 6 + more), np.float32)
    for row, (box, score, label) in enumerate(KNOWN):
        made[0, row, :6] = (*box, score, label)
        made[0, row, 6:] = 7.0
    return made


V8 = table(8400, 80).transpose(0, 2, 1)
V5 = table(25200, 80, objectness=True)
OPEN = (-1, -1, -1)


@pytest.mark.parametrize(
    ("output", "shape", "labels"),
    [
        (V8, (1, 84, 8400), 0),
        (V8, (-1, -1, 8400), 0),  # [batch, 'anchors', 8400]
        (V8, (-1, -1, 8400), 80),
        (V8, (-1, 84, -1), 80),
        (V8, OPEN, 80),
        (V8.transpose(0, 2, 1), OPEN, 80),
        (V8.transpose(0, 2, 1), (-1, 8400, -1), 80),
        (V5, (1, 25200, 85), 0),
        (V5, (-1, 25200, -1), 0),
        (V5, OPEN, 0),
        (end2end(), (1, 300, 6), 0),
        (end2end(), (-1, -1, 6), 0),  # ['batch', 'num', 6]
        (end2end(), OPEN, 0),  # ['batch', 'num', 'cls']
        (end2end(), (-1, 300, -1), 80),
        (end2end(17), (-1, -1, 6), 80),  # nms=True, as many rows as there are boxes
        (table(8400, 4).transpose(0, 2, 1), (-1, -1, 8400), 4),
    ],
)
def test_yolo_reads_its_heads_whatever_is_open(output, shape, labels):
    outputs = {"output0": output}
    assert found("yolo", outputs, head(outputs, labels, output0=shape)) == KNOWN


def test_yolo_two_classes_or_end_to_end_is_decided_by_the_number_of_boxes():
    plain = np.zeros((1, 8400, 6), np.float32)
    plain[0, 5] = (*centred(KNOWN[1][0]), 0.8, 0.1)
    for output, expected in ((plain, KNOWN[1:]), (end2end(), KNOWN)):
        outputs = {"output0": output}
        assert found("yolo", outputs, head(outputs, 2, output0=(-1, -1, 6))) == expected


def test_yolo_with_open_channels_still_compares_the_labels_when_they_arrive():
    outputs = {"output0": V8}
    decoder = create_decoder("yolo", {}, head(outputs, 79, output0=(-1, -1, 8400)))
    assert decoder.classes is None
    with pytest.raises(LabelsInvalid, match=r"79 labels.*80 \(plain\)"):
        decoder.decode(outputs, 0.4)


PROTOTYPES = np.zeros((1, 32, 160, 160), np.float32)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (table(8400, 80, 32).transpose(0, 2, 1), (1, 116, 8400)),
        (table(25200, 80, 32, objectness=True), (1, 25200, 117)),
        (end2end(300, 32), (1, 300, 38)),
        (table(8400, 80, 32).transpose(0, 2, 1), (-1, -1, -1)),
    ],
)
@pytest.mark.parametrize("labels", [0, 80])
def test_yolo_reads_the_boxes_of_segmentation_models(output, shape, labels):
    outputs = {"output0": output, "output1": PROTOTYPES}
    model = head(outputs, labels, output0=shape)
    assert found("yolo", outputs, model) == KNOWN


def test_yolo_reads_the_boxes_of_pose_models_when_told_and_refuses_otherwise():
    pose = np.zeros((1, 56, 8400), np.float32)
    pose[0, :5, 9] = (*centred(KNOWN[1][0]), 0.8)
    pose[0, 5:, 9] = 300
    for labels in (0, 1):
        with pytest.raises((PipelineInvalid, LabelsInvalid), match=r"decoder_options\.extra = 51"):
            create_decoder("yolo", {}, head({"output0": pose}, labels))
        model = head({"output0": pose}, labels)
        assert found("yolo", {"output0": pose}, model, extra=51) == KNOWN[1:]
    finished = {"output0": end2end(300, 51)}
    with pytest.raises(PipelineInvalid, match=r"decoder_options\.extra = 51"):
        create_decoder("yolo", {}, head(finished))
    assert found("yolo", finished, extra=51) == KNOWN
    assert create_decoder("yolo", {}, head({"output0": pose}, 52)).classes == 52


def test_yolo_refuses_rotated_boxes():
    rotated = {"output0": np.zeros((1, 20, 8400), np.float32)}
    with pytest.raises(LabelsInvalid, match=r"angle of rotated boxes \(OBB\), which are not read"):
        create_decoder("yolo", {}, head(rotated, 15))
    with pytest.raises(PipelineInvalid, match="OBB"):
        create_decoder("yolo", {"extra": 1}, head(rotated, 15))
    with pytest.raises(PipelineInvalid, match="OBB"):
        create_decoder("yolo", {}, head({"output0": np.zeros((1, 300, 7), np.float32)}, 3))


BOXES = np.array([box for box, _, _ in KNOWN], np.float32)
SCORES = np.array([score for _, score, _ in KNOWN], np.float32)
CLASSES = np.array([label for _, _, label in KNOWN], np.int64)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("names", [("boxes", "scores", "labels"), ("3088", "3095", "3100")])
def test_torchvision_detectors_in_any_order_and_under_any_names(order, names):
    parts = list(zip(names, (BOXES, SCORES, CLASSES + 1), strict=True))
    outputs = dict(parts[index] for index in order)
    open_rows = {name: (-1, *array.shape[1:]) for name, array in outputs.items()}
    assert found("torchvision", outputs, head(outputs, **open_rows)) == KNOWN
    outputs |= {"masks": np.zeros((2, 1, 640, 640), np.float32)}
    assert found("torchvision", outputs, head(outputs, **open_rows)) == KNOWN


def test_torchvision_class_0_is_the_background_or_an_error():
    outputs = {"boxes": BOXES, "scores": SCORES, "labels": CLASSES}
    with pytest.raises(PipelineInvalid, match="label_offset = 0"):
        found("torchvision", outputs)
    assert found("torchvision", outputs, label_offset=0) == KNOWN
    with_background = Head(head(outputs).outputs, SIZE, SIZE, 5, background=True)
    outputs["labels"] = CLASSES + 1
    expected = [(box, score, label + 1) for box, score, label in KNOWN]
    assert found("torchvision", outputs, with_background) == expected


def test_a_label_list_that_begins_with_the_background_counts_from_it():
    outputs = [
        TensorSpec("boxes", DataType.FP32, (-1, 4)),
        TensorSpec("labels", DataType.INT64, (-1,)),
        TensorSpec("scores", DataType.FP32, (-1,)),
    ]
    image = [TensorSpec("image", DataType.FP32, (1, 3, SIZE, SIZE))]
    spec = PipelineSpec(task="detection", decoder="torchvision", resize="letterbox")
    arrays = {"boxes": BOXES, "labels": CLASSES + 1, "scores": SCORES}
    for labels in (
        ["__background__", "one", "two", "three", "four"],
        ["one", "two", "three", "four"],
    ):
        pipeline = DetectionPipeline(spec, image, outputs, labels, Limits())
        prepared = pipeline.prepare(encoded(scene(320, 320), "PNG"))
        answer = pipeline.finish(arrays, prepared.context)
        assert [one.label for one in answer.detections] == ["four", "one"]
        assert answer.detections[0].box == (50, 25, 100, 75)


def test_nothing_found_is_nothing():
    outputs = {"boxes": BOXES[:0], "scores": SCORES[:0], "labels": CLASSES[:0]}
    shapes = {"boxes": (-1, 4), "scores": (-1,), "labels": (-1,)}
    assert found("torchvision", outputs, head(outputs, **shapes)) == []
    rows = np.zeros((0, 7), np.float32)
    assert found("yolov7", {"output": rows}, head({"output": rows}, output=(-1, 7))) == []


def test_yolov7_rows_of_the_first_image_count():
    rows = np.array([[0, *box, label, score] for box, score, label in KNOWN], np.float32)
    other = rows.copy()
    other[:, 0] = 1
    assert found("yolov7", {"output": np.concatenate((other, rows))}) == KNOWN
    assert found("yolov7", {"output": V5}) == KNOWN  # its raw export


def test_paddledetection():
    rows = np.array([[label, score, *box] for box, score, label in KNOWN], np.float32)
    filler = np.array([[-1, 0.9, 0, 0, 9, 9], [2, 0.9, 0, 0, 9, 9]], np.float32)
    for count in (np.array([3], np.int32), np.array([2], np.int32)):
        outputs = {"bbox": np.concatenate((rows, filler)), "bbox_num": count}
        assert found("paddledetection", outputs, head(outputs, bbox=(-1, 6))) == KNOWN
    ordered = np.concatenate((rows, np.ones((2, 1), np.float32)), axis=1)
    assert found("paddledetection", {"a": ordered, "b": np.array([2], np.int32)}) == KNOWN


def tensorflow(names: tuple[str, str, str, str], first: int) -> dict[str, np.ndarray]:
    boxes = np.zeros((1, 10, 4), np.float32)
    boxes[0, :2] = BOXES[:, [1, 0, 3, 2]] / SIZE
    classes, scores = np.zeros((1, 10), np.float32), np.full((1, 10), 0.9, np.float32)
    classes[0, :2], scores[0, :2] = CLASSES + first, SCORES
    classes[0, 2:] = 3
    arrays = (boxes, classes, scores, np.array([2], np.float32))
    return dict(zip(names, arrays, strict=True))


def test_ssd_of_tensorflow():
    names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
    outputs = tensorflow(names, 1) | {
        "detection_anchor_indices": np.zeros((1, 10), np.float32),
        "detection_multiclass_scores": np.zeros((1, 10, 91), np.float32),
        "raw_detection_boxes": np.zeros((1, 1917, 4), np.float32),
        "raw_detection_scores": np.zeros((1, 1917, 91), np.float32),
    }
    assert found("ssd", outputs) == KNOWN
    tflite = tuple(f"TFLite_Detection_PostProcess{end}" for end in ("", ":1", ":2", ":3"))
    assert found("ssd", dict(reversed(tensorflow(tflite, 0).items()))) == KNOWN


def test_ssd_of_the_onnx_model_zoo():
    outputs = {
        "bboxes": BOXES[None] / SIZE, "labels": CLASSES[None] + 1, "scores": SCORES[None]
    }  # fmt: skip
    assert found("ssd", outputs) == KNOWN


def test_efficientnms_under_both_plugins_names():
    for names in (
        ("num_dets", "det_boxes", "det_scores", "det_classes"),
        ("num_detections", "nmsed_boxes", "nmsed_scores", "nmsed_classes"),
    ):
        arrays = (np.array([[2]], np.int32), BOXES[None], SCORES[None], CLASSES[None] * 1.0)
        outputs = dict(zip(names, (*arrays[:3], arrays[3].astype(np.float32)), strict=True))
        assert found("efficientnms", outputs) == KNOWN


def test_detr_with_its_post_processing():
    outputs = {"labels": CLASSES[None], "boxes": BOXES[None], "scores": SCORES[None]}
    assert found("detr", outputs) == KNOWN
    assert found("detr", outputs | {"boxes": BOXES[None] / SIZE}, normalised=True) == KNOWN


def test_detr_beside_hidden_states():
    logits = np.full((1, 100, 81), -9, np.float32)
    boxes = np.zeros((1, 100, 4), np.float32)
    for row, (box, score, label) in enumerate(KNOWN):
        boxes[0, row] = np.array(centred(box)) / SIZE
        logits[0, row, label] = np.log(score / (1 - score))
    outputs = {
        "logits": logits,
        "pred_boxes": boxes,
        "last_hidden_state": np.zeros((1, 100, 256), np.float32),
    }
    assert found("detr", outputs, activation="sigmoid") == KNOWN


def test_yolox_places_its_cells():
    raw = np.zeros((1, 8400, 85), np.float32)
    for row, column, line, stride in ((80 * 12 + 18, 18, 12, 8), (6400 + 40 * 28 + 22, 22, 28, 16)):
        box, score, label = KNOWN[0 if stride == 8 else 1]
        x, y, width, height = centred(box)
        raw[0, row, :4] = (
            x / stride - column,
            y / stride - line,
            *np.log((width, height)) - np.log(stride),
        )
        raw[0, row, 4], raw[0, row, 5 + label] = 1, score
    assert found("yolox", {"output": raw}) == KNOWN
    assert found("yolox", {"output": raw}, head({"output": raw}, output=OPEN)) == KNOWN
    assert found("yolox", {"output": table(8400, 80, objectness=True)}, decoded=True) == KNOWN
    with pytest.raises(PipelineInvalid, match="8400 rows for an input of 640x640"):
        create_decoder("yolox", {}, head({"output": raw[:, :-1]}))
    with pytest.raises(LabelsInvalid, match="79 labels"):
        create_decoder("yolox", {}, head({"output": raw}, 79))


NO_DETECTORS = {
    "ctc": {"probs": np.zeros((1, 40, 97), np.float32)},
    "ctc, open": {"probs": np.zeros((1, 40, 6625), np.float32)},
    "embedding": {"embedding": np.zeros((1, 512), np.float32)},
    "classes": {"probs": np.zeros((1, 7), np.float32)},
    "map": {"out": np.zeros((1, 21, 256, 256), np.float32)},
    "tokens": {"ids": np.zeros((1, 12), np.int64), "hidden": np.zeros((1, 12, 64), np.float32)},
}


@pytest.mark.parametrize("kind", NO_DETECTORS)
@pytest.mark.parametrize(
    "name", ["detr", "efficientnms", "nanodet", "ssd", "torchvision", "yolo", "yolox"]
)
def test_what_is_no_detector_is_refused(kind, name):
    outputs = NO_DETECTORS[kind]
    shapes = dict.fromkeys(outputs, (-1, -1, -1)) if "open" in kind else {}
    with pytest.raises(PipelineInvalid):
        create_decoder(name, {}, head(outputs, **shapes)).decode(outputs, 0.4)


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("YOLOv8", "yolo"), ("yolo11n", "yolo"), ("yolov5s", "yolo"), ("rt-detr", "detr"),
        ("picodet", "nanodet"), ("faster_rcnn", "torchvision"), ("retinanet", "torchvision"),
        ("ppyoloe", "paddledetection"), ("ssd_mobilenet", "ssd"), ("YOLOX", "yolox"),
    ],
)  # fmt: skip
def test_the_fields_names_lead_to_the_decoder_that_reads_them(name: str, reads: str):
    assert f'write decoder = "{reads}"' in unknown_decoder(name)
