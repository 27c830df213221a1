"""Options of decoders: their effect, and the message when they or the outputs do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from enginecrate.errors import LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Decoder, Head
from enginecrate.pipelines.decoders.registry import DECODERS, create_decoder
from enginecrate.pipelines.decoders.scores import logit, select, sigmoid
from enginecrate.pipelines.nms import MAX_CANDIDATES
from enginecrate.values import DataType, TensorSpec

YOLO_V8 = (("output0", (-1, 84, 8400)),)
YOLO_V5 = (("output", (1, 25200, 85)),)
NANODET = tuple(
    (f"{kind}_{stride}", (-1, (416 // stride) ** 2, columns))
    for kind, columns in (("cls", 80), ("reg", 44))
    for stride in (8, 16, 32)
)
DETR = (("logits", (-1, 100, 92)), ("pred_boxes", (-1, 100, 4)))
SSD_RAW = (("boxes", (-1, 3000, 4)), ("scores", (-1, 3000, 21)))
SSD_JOINED = (("detection_out", (1, 1, 200, 7)),)


def head(shapes: Sequence[tuple[str, tuple[int, ...]]], size: int = 640, labels: int = 80) -> Head:
    specs = [TensorSpec(name, DataType.FP32, shape) for name, shape in shapes]
    return Head(specs, size, size, labels)


def message(name: str | None, options: dict[str, Any], model: Head) -> str:
    with pytest.raises(PipelineInvalid) as caught:
        create_decoder(name, options, model)
    return str(caught.value)


def decode(decoder: Decoder, threshold: float = 0.4, **outputs: np.ndarray) -> Candidates:
    return decoder.decode(outputs, threshold)


def test_unknown_decoder_names_the_nearest() -> None:
    said = message("nandet", {}, head(NANODET, 416))
    assert "'nandet'" in said
    assert "did you mean 'nanodet'?" in said
    assert all(name in said for name in DECODERS)


def test_missing_decoder_lists_all() -> None:
    assert "one of detr, nanodet, ssd, yolo" in message(None, {}, head(NANODET, 416))


@pytest.mark.parametrize(
    ("name", "shapes", "key", "near"),
    [
        ("nanodet", NANODET, "stride", "strides"),
        ("yolo", YOLO_V8, "normalized", "normalised"),
        ("ssd", SSD_RAW, "variance", "variances"),
        ("detr", DETR, "label_ofset", "label_offset"),
    ],
)
def test_unknown_option_names_the_nearest(
    name: str, shapes: Sequence[tuple[str, tuple[int, ...]]], key: str, near: str
) -> None:
    said = message(name, {key: 1}, head(shapes, 416))
    assert f"unknown key {key!r}" in said
    assert f"did you mean {near!r}?" in said


@pytest.mark.parametrize(
    ("name", "shapes", "options", "key"),
    [
        ("yolo", YOLO_V8, {"kind": "v8"}, "kind"),
        ("yolo", YOLO_V8, {"normalised": "yes"}, "normalised"),
        ("nanodet", NANODET, {"strides": [0, 8, 16]}, "strides"),
        ("detr", DETR, {"label_offset": -1}, "label_offset"),
        ("ssd", SSD_RAW, {"scales": [0.1]}, "scales"),
    ],
)
def test_wrong_values_name_their_key(
    name: str,
    shapes: Sequence[tuple[str, tuple[int, ...]]],
    options: dict[str, Any],
    key: str,
) -> None:
    said = message(name, options, head(shapes, 416))
    assert said.startswith(f"[pipeline] decoder_options of {name!r}: ")
    assert key in said


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_outputs_that_do_not_fit_are_listed_beside_what_was_expected(name: str) -> None:
    said = message(name, {}, head([("logits", (-1, 1000))]))
    assert f"the decoder {name!r} expects" in said
    assert "the model has logits FP32 [-1,1000]" in said


@pytest.mark.parametrize(
    ("name", "shapes", "option"),
    [
        ("yolo", YOLO_V8, {"output": "output1"}),
        ("detr", DETR, {"boxes": "pred_bxes"}),
        ("nanodet", NANODET, {"scores": ["cls_9"], "boxes": ["reg_8"]}),
        ("ssd", SSD_RAW, {"boxes": "boxs"}),
    ],
)
def test_an_unknown_output_names_the_nearest(
    name: str, shapes: Sequence[tuple[str, tuple[int, ...]]], option: dict[str, Any]
) -> None:
    assert "did you mean" in message(name, option, head(shapes))


def test_several_outputs_that_fit_ask_for_a_name() -> None:
    model = head([("a", (1, 84, 8400)), ("b", (1, 84, 8400))])
    assert "[pipeline] decoder_options.output" in message("yolo", {}, model)
    assert create_decoder("yolo", {"output": "b"}, model).classes == 80


# YOLO: which head a shape is.


@pytest.mark.parametrize(
    ("shape", "labels", "classes", "needs_nms"),
    [
        ((-1, 84, 8400), 80, 80, True),
        ((-1, 84, 8400), 0, 80, True),
        ((-1, 8400, 84), 80, 80, True),
        ((-1, 25200, 85), 80, 80, True),
        ((-1, 25200, 85), 0, 80, True),
        ((-1, 8400, 85), 80, 80, True),  # YOLOX
        ((-1, 84, -1), 80, 80, True),
        ((-1, 34000, 84), 80, 80, True),  # P2
        ((-1, 300, 6), 80, None, False),
        ((-1, 300, 6), 0, None, False),
        ((-1, 8400, 6), 2, 2, True),
        ((-1, 25200, 6), 1, 1, True),
        ((-1, 6, 8400), 2, 2, True),
    ],
)
def test_yolo_heads_are_told_apart(
    shape: tuple[int, ...], labels: int, classes: int | None, needs_nms: bool
) -> None:
    decoder = create_decoder("yolo", {}, head([("output0", shape)], labels=labels))
    assert decoder.classes == classes
    assert decoder.needs_nms is needs_nms


def test_yolo_asks_when_the_shape_leaves_a_choice() -> None:
    model = head([("output0", (-1, 8400, 85))], labels=0)
    assert "decoder_options.kind" in message("yolo", {}, model)
    assert create_decoder("yolo", {"kind": "objectness"}, model).classes == 80
    assert create_decoder("yolo", {"kind": "plain"}, model).classes == 81


def test_yolo_names_both_numbers_when_labels_do_not_fit() -> None:
    for labels in (79, 81, 1):
        with pytest.raises(LabelsInvalid, match=rf"{labels} labels.*80 \(plain\)"):
            create_decoder("yolo", {}, head(YOLO_V8, labels=labels))
        with pytest.raises(LabelsInvalid, match=rf"{labels} labels.*80 \(objectness\)"):
            create_decoder("yolo", {}, head(YOLO_V5, labels=labels))


def test_yolo_with_normalised_boxes_and_logits_equals_pixels_and_scores() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.05, 0.95, (1, 84, 8400)).astype(np.float32)
    table[:, 4:] = table[:, 4:] ** 15
    pixels = table.copy()
    pixels[:, :4] *= 640
    raw = table.copy()
    raw[:, 4:] = np.log(table[:, 4:] / (1 - table[:, 4:]))
    plain = decode(create_decoder("yolo", {}, head(YOLO_V8)), output0=pixels)
    options = {"normalised": True, "activation": "sigmoid"}
    other = decode(create_decoder("yolo", options, head(YOLO_V8)), output0=raw)

    assert len(plain.scores) > 100
    np.testing.assert_array_equal(other.classes, plain.classes)
    np.testing.assert_allclose(other.scores, plain.scores, rtol=1e-4)
    np.testing.assert_allclose(other.boxes, plain.boxes, rtol=1e-4, atol=1e-3)


def test_yolo_objectness_logits_equal_scores() -> None:
    table = np.random.default_rng(0).uniform(0.02, 0.98, (1, 25200, 85)).astype(np.float32)
    raw = table.copy()
    raw[..., 4:] = np.log(table[..., 4:] / (1 - table[..., 4:]))
    plain = decode(create_decoder("yolo", {}, head(YOLO_V5)), 0.9, output=table)
    other = decode(
        create_decoder("yolo", {"activation": "sigmoid"}, head(YOLO_V5)), 0.9, output=raw
    )
    assert 0 < len(plain.scores) <= MAX_CANDIDATES
    np.testing.assert_allclose(np.sort(other.scores), np.sort(plain.scores), rtol=1e-4)


def test_yolo_end2end_refuses_logits() -> None:
    said = message("yolo", {"activation": "sigmoid"}, head([("output0", (1, 300, 6))]))
    assert "activation" in said


def test_yolo_checks_dynamic_channels_when_they_arrive() -> None:
    decoder = create_decoder("yolo", {}, head([("output0", (-1, 84, -1))]))
    with pytest.raises(PipelineInvalid, match="85 channels, not 84"):
        decode(decoder, output0=np.zeros((1, 85, 100), np.float32))


# NanoDet: strides and bins from the shapes.


def test_nanodet_finds_strides_and_bins_by_shape() -> None:
    decoder = create_decoder("nanodet", {}, head(tuple(reversed(NANODET)), 416))
    assert decoder.classes == 80
    assert sorted((level.stride, level.scores, level.sides) for level in decoder.levels) == [
        (8, "cls_8", "reg_8"),
        (16, "cls_16", "reg_16"),
        (32, "cls_32", "reg_32"),
    ]
    assert decoder.reg_max == 10


def test_nanodet_without_labels_takes_the_published_bins_or_asks() -> None:
    assert create_decoder("nanodet", {}, head(NANODET, 416, labels=0)).classes == 80
    odd = [(name, (*shape[:2], 44 if shape[2] == 44 else 32)) for name, shape in NANODET]
    assert "reg_max" in message("nanodet", {}, head(odd, 416, labels=0))
    assert create_decoder("nanodet", {"reg_max": 7}, head(odd, 416, labels=0)).classes == 44


def test_nanodet_with_dynamic_rows_needs_names_and_strides() -> None:
    shapes = [(name, (-1, -1, columns)) for name, (_, _, columns) in NANODET]
    said = message("nanodet", {}, head(shapes, 416))
    assert "strides" in said
    options = {
        "scores": ["cls_8", "cls_16", "cls_32"],
        "boxes": ["reg_8", "reg_16", "reg_32"],
        "strides": [8, 16, 32],
    }
    decoder = create_decoder("nanodet", options, head(shapes, 416))
    assert [level.cells for level in decoder.levels] == [2704, 676, 169]
    with pytest.raises(PipelineInvalid, match="shape"):
        decode(decoder, cls_8=np.zeros((1, 9, 80), np.float32))


def test_nanodet_says_how_many_rows_the_input_needs() -> None:
    assert "2704 (stride 8)" in message("nanodet", {}, head(_resized(NANODET, 1), 416))


def _resized(
    shapes: Sequence[tuple[str, tuple[int, ...]]], more: int
) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, (shape[0], shape[1] + more, shape[2])) for name, shape in shapes]


def test_nanodet_counts_strides() -> None:
    assert "has 2 entries" in message("nanodet", {"strides": [8, 16]}, head(NANODET, 416))


# DETR and SSD.


def test_detr_with_sigmoid_has_no_class_for_no_object() -> None:
    assert create_decoder("detr", {}, head(DETR)).classes == 91
    assert create_decoder("detr", {"activation": "sigmoid"}, head(DETR)).classes == 92
    assert "label_offset" in message("detr", {"label_offset": 91}, head(DETR))


def test_ssd_labels_may_name_the_background() -> None:
    logits = np.full((1, 3000, 21), -9, np.float32)
    logits[0, 7, 5] = logits[0, 8, 0] = 9
    boxes = np.tile(np.array([0.25, 0.25, 0.5, 0.5], np.float32), (1, 3000, 1))
    for labels, class_id in ((20, 4), (21, 5), (0, 4)):
        decoder = create_decoder("ssd", {}, head(SSD_RAW, 300, labels))
        found = decode(decoder, boxes=boxes, scores=logits)
        assert decoder.classes == (labels or 20)
        assert found.classes.tolist() == [class_id]
        np.testing.assert_allclose(found.boxes, [[75, 75, 150, 150]])


def test_ssd_rows_that_fill_up_the_table_are_left_out() -> None:
    table = np.zeros((1, 1, 3, 7), np.float32)
    table[0, 0, :, :3] = [[0, 3, 0.9], [0, 0, 0.9], [-1, 3, 0.9]]
    found = decode(create_decoder("ssd", {}, head(SSD_JOINED, 300)), detection_out=table)
    assert found.classes.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scales": [0.2, 0.5, 0.9]}, "feature_maps or steps"),
        ({"scales": [0.2, 0.5, 0.9], "feature_maps": [[5, 5]]}, "scales of 'ssd' has 3 entries"),
        ({"scales": [0.2, 0.9], "feature_maps": [[5, 5]]}, "describe 50 default boxes"),
        ({"scales": [0.2, 0.9], "feature_maps": [[5, 5]], "normalised": False}, "normalised"),
        ({"steps": [8, 16]}, "need scales"),
    ],
)
def test_ssd_default_boxes_must_fit(options: dict[str, Any], words: str) -> None:
    assert words in message("ssd", options, head(SSD_RAW, 300, 20))


# Scores.


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.9, 0.99])
def test_select_equals_the_plain_way(multi_label: bool, order: str, threshold: float) -> None:
    scores = np.asarray(
        np.random.default_rng(3).random((400, 9)).astype(np.float32).round(2), order=order
    )
    rows, classes, picked = select(scores, threshold, multi_label=multi_label)
    wanted = scores >= threshold
    if not multi_label:
        wanted &= np.arange(9) == scores.argmax(axis=1)[:, None]

    assert list(zip(rows, classes, strict=True)) == list(zip(*np.nonzero(wanted), strict=True))
    np.testing.assert_array_equal(picked, scores[wanted])


def test_select_keeps_the_best_when_too_many_pass() -> None:
    scores = np.random.default_rng(4).random((500, 80)).astype(np.float32)
    rows, classes, picked = select(scores, 0.0, multi_label=True)

    assert len(rows) == MAX_CANDIDATES
    assert picked.min() == np.sort(scores, axis=None)[-MAX_CANDIDATES]
    np.testing.assert_array_equal(picked, scores[rows, classes])


def test_logit_is_the_inverse_of_sigmoid_and_takes_the_ends() -> None:
    assert sigmoid(np.float32([logit(0.3)]))[0] == pytest.approx(0.3, abs=1e-6)
    assert logit(0.0) == -np.inf
    assert logit(1.0) == np.inf
    assert sigmoid(np.float32([-1e30, 1e30])).tolist() == [0, 1]
