"""Small models with the ends that exporters give to theirs; their numbers depend on the photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tiny_models import model, value

INT64 = TensorProto.INT64
CELLS = 189
"""Boxes of three strides for 96x96 pixels."""


class Parts:
    """A model that is put together node by node; every method answers with a tensor's name."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def number(self, array: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(array, dtype), name))
        return name

    def input(self, name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> str:
        self.inputs.append(value(name, shape, kind))
        return name

    def output(
        self, name: str, tensor: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT
    ) -> None:
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(value(name, shape, kind))

    def conv(self, x: str, channels: int = 3, width: int = 8) -> str:
        weight = self.rng.standard_normal((width, channels, 3, 3)) / (3 * channels**0.5)
        return self.op("Relu", self.op("Conv", x, self.number(weight), strides=[2, 2]))

    def features(self, x: str, channels: int = 3) -> str:
        """[batch, 8]."""
        return self.op("Flatten", self.op("GlobalAveragePool", self.conv(x, channels)))

    def linear(self, features: str, width: int, scale: float = 3.0) -> str:
        """[batch, width] logits of both signs."""
        weight = self.number(self.rng.standard_normal((8, width)) * scale)
        bias = self.number(self.rng.standard_normal(width) * scale)
        return self.op("Gemm", features, weight, bias)

    def table(self, features: str, *shape: int, scale: float = 3.0) -> str:
        """[1, *shape] logits."""
        row = self.linear(features, int(np.prod(shape)), scale)
        return self.op("Reshape", row, self.number([-1, *shape], np.int64))

    def scaled(self, x: str, factor: object) -> str:
        return self.op("Mul", x, self.number(factor))

    def proto(
        self, metadata: Mapping[str, str] | None = None, producer: str = ""
    ) -> onnx.ModelProto:
        domains = sorted({node.domain for node in self.nodes} - {""})
        made = model(self.nodes, self.inputs, self.outputs, self.constants, domains=domains)
        made.producer_name = producer
        helper.set_model_props(made, dict(metadata or {}))
        return made


def photo(parts: Parts, *shape: int | str) -> str:
    return parts.input("images", shape or [1, 3, 96, 96])


def classifier(
    end: str = "",
    count: int = 10,
    name: str = "output",
    shape: Sequence[int | str] = (1, 3, 96, 96),
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """end: an operator over the logits, or `""`."""
    parts = Parts()
    logits = parts.linear(parts.features(photo(parts, *shape)), count)
    axis = {"axis": 1} if end in ("Softmax", "LogSoftmax", "LpNormalization") else {}
    parts.output(name, parts.op(end, logits, **axis) if end else logits, [shape[0], count])
    return parts.proto(metadata, producer="pytorch")


def written_out_softmax() -> onnx.ModelProto:
    parts = Parts()
    logits = parts.linear(parts.features(photo(parts)), 10)
    most = parts.op("ReduceMax", logits, axes=[1], keepdims=1)
    powers = parts.op("Exp", parts.op("Sub", logits, most))
    total = parts.op("ReduceSum", powers, parts.number([1], np.int64), keepdims=1)
    parts.output("y", parts.op("Div", powers, total), [1, 10])
    return parts.proto()


def keras_classifier() -> onnx.ModelProto:
    parts = Parts()
    x = parts.input("input_1", ["unk__1", 64, 64, 3])
    moved = parts.op("Transpose", x, perm=[0, 3, 1, 2])
    logits = parts.linear(parts.features(moved), 10)
    parts.output("predictions", parts.op("Softmax", logits), ["unk__1", 10])
    return parts.proto(producer="tf2onnx")


def scaling_classifier(mean: float, scale: float) -> onnx.ModelProto:
    """The model itself does `(x - mean) * scale`."""
    parts = Parts()
    x = parts.op("Sub", photo(parts), parts.number(mean))
    logits = parts.linear(parts.features(parts.scaled(x, scale)), 10)
    parts.output("y", parts.op("Softmax", logits), [1, 10])
    return parts.proto()


def embedding(end: str) -> onnx.ModelProto:
    """end: `norm` (x / ReduceL2), `squares`, `batch` (a BatchNormalization), `pool`."""
    parts = Parts()
    x = photo(parts, "n", 3, 112, 112)
    if end == "pool":
        weight = parts.rng.standard_normal((512, 3, 3, 3)) / 5
        pooled = parts.op("GlobalAveragePool", parts.op("Conv", x, parts.number(weight)))
        parts.output("features", parts.op("Flatten", pooled), ["n", 512])
        return parts.proto()
    row = parts.linear(parts.features(x), 512)
    if end == "norm":
        row = parts.op("Div", row, parts.op("ReduceL2", row, axes=[1], keepdims=1))
    if end == "squares":
        total = parts.op("ReduceSum", parts.op("Mul", row, row), parts.number([1], np.int64))
        row = parts.op("Div", row, parts.op("Sqrt", parts.op("Clip", total, parts.number(1e-12))))
    if end == "batch":
        ones, zeros = parts.number(np.ones(512)), parts.number(np.zeros(512))
        row = parts.op("BatchNormalization", row, ones, zeros, zeros, ones)
    parts.output("683", row, ["n", 512])
    return parts.proto()


def yolo(
    classes: int = 3,
    *,
    objectness: bool = False,
    last: bool = False,
    extra: int = 0,
    logits: bool = False,
    normalised: bool = False,
    symbolic: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """YOLO's raw head for 96x96. extra: columns of key points after the scores."""
    parts = Parts()
    shape = ["batch", 3, "height", "width"] if symbolic else [1, 3, 96, 96]
    features = parts.features(photo(parts, *shape))
    boxes = parts.scaled(
        parts.op("Sigmoid", parts.table(features, 4, CELLS)), 1 if normalised else 96
    )
    scores = parts.table(features, classes + objectness, CELLS)
    rows = [boxes, scores if logits else parts.op("Sigmoid", scores)]
    if extra:
        rows.append(parts.scaled(parts.table(features, extra, CELLS), 20))
    table = parts.op("Concat", *rows, axis=1)
    channels = 4 + objectness + classes + extra
    if last:
        table = parts.op("Transpose", table, perm=[0, 2, 1])
    sizes = [CELLS, channels] if last else [channels, CELLS]
    if symbolic:
        sizes = [size if size == channels else "anchors" for size in sizes]
    parts.output("output0", table, [shape[0], *sizes])
    return parts.proto(metadata)


def yolox() -> onnx.ModelProto:
    """Boxes are offsets from cells and logarithms; scores and objectness are in 0..1."""
    parts = Parts()
    features = parts.features(photo(parts))
    boxes = parts.table(features, CELLS, 4, scale=0.5)
    scores = parts.op("Sigmoid", parts.table(features, CELLS, 4))
    parts.output("output", parts.op("Concat", boxes, scores, axis=2), [1, CELLS, 7])
    return parts.proto()


def final_boxes(
    metadata: Mapping[str, str] | None = None, *, normalised: bool = False, none: bool = False
) -> onnx.ModelProto:
    """YOLOv10 and later: rows of box, score and class. none: nothing is found on any photo."""
    parts = Parts()
    features = parts.features(photo(parts))
    factor = 1 if normalised else 96
    first = parts.scaled(parts.op("Sigmoid", parts.table(features, 300, 2)), factor / 2)
    second = parts.op("Add", first, parts.number(factor / 2))
    score = parts.op("Sigmoid", parts.table(features, 300, 1))
    label = parts.op("Floor", parts.scaled(parts.op("Sigmoid", parts.table(features, 300, 1)), 2.9))
    rows = parts.op("Concat", first, second, score, label, axis=2)
    if none:
        ends = [parts.number([number], np.int64) for number in (0, 0, 1)]
        rows = parts.op("Slice", rows, *ends)
    parts.output("output0", rows, [1, "boxes" if none else 300, 6])
    return parts.proto(metadata)


def suppressed(parts: Parts, features: str) -> tuple[str, str, str]:
    """Boxes [CELLS,4], selected rows and their classes after NonMaxSuppression."""
    corner = parts.scaled(parts.op("Sigmoid", parts.table(features, CELLS, 2)), 48)
    far = parts.op("Add", corner, parts.number(40))
    boxes = parts.op("Concat", corner, far, axis=2)
    scores = parts.op("Sigmoid", parts.table(features, 3, CELLS))
    chosen = parts.op(
        "NonMaxSuppression", boxes, scores, parts.number([9], np.int64),
        parts.number([0.9]), parts.number([0.3]),
    )  # fmt: skip
    index = parts.op("Gather", chosen, parts.number(2, np.int64), axis=1)
    label = parts.op("Gather", chosen, parts.number(1, np.int64), axis=1)
    flat = parts.op("Squeeze", boxes, parts.number([0], np.int64))
    best = parts.op(
        "Squeeze", parts.op("ReduceMax", scores, axes=[1]), parts.number([0, 1], np.int64)
    )
    return parts.op("Gather", flat, index), parts.op("Gather", best, index), label


def torchvision(*, first_class: int = 1, single: bool = False) -> onnx.ModelProto:
    """single: the input is one image of open size, without a batch."""
    parts = Parts()
    x = photo(parts, 3, "height", "width") if single else photo(parts)
    x = parts.op("Unsqueeze", x, parts.number([0], np.int64)) if single else x
    boxes, scores, labels = suppressed(parts, parts.features(x))
    labels = parts.op("Add", labels, parts.number(first_class, np.int64))
    parts.output("2041", labels, ["n"], INT64)
    parts.output("2048", boxes, ["n", 4])
    parts.output("2050", scores, ["n"])
    return parts.proto(producer="pytorch")


def yolov7() -> onnx.ModelProto:
    """Rows of image, box, class and score."""
    parts = Parts()
    boxes, scores, labels = suppressed(parts, parts.features(photo(parts)))
    one = parts.number([1], np.int64)
    label = parts.op("Unsqueeze", parts.op("Cast", labels, to=1), one)
    score = parts.op("Unsqueeze", scores, one)
    image = parts.scaled(score, 0)
    rows = parts.op("Concat", image, boxes, label, score, axis=1)
    parts.output("output", rows, ["n", 7])
    return parts.proto()


def detr(classes: int, *, shift: float = 0.0, last: float = 0.0) -> onnx.ModelProto:
    """shift: of all logits. last: of the last class alone."""
    parts = Parts()
    features = parts.features(photo(parts))
    bias = np.full(classes, shift, np.float32)
    bias[-1] += last
    logits = parts.op("Add", parts.table(features, 20, classes), parts.number(bias))
    boxes = parts.op("Sigmoid", parts.table(features, 20, 4))
    parts.output("logits", logits, [1, 20, classes])
    parts.output("pred_boxes", boxes, [1, 20, 4])
    return parts.proto()


def finished_detr() -> onnx.ModelProto:
    """RT-DETR with its post-processing: labels, boxes and scores; the size is an input."""
    parts = Parts()
    features = parts.features(photo(parts))
    size = parts.op("Cast", parts.input("orig_target_sizes", [1, 2], INT64), to=1)
    sides = parts.op(
        "Unsqueeze", parts.op("Concat", size, size, axis=1), parts.number([1], np.int64)
    )
    near = parts.scaled(parts.op("Sigmoid", parts.table(features, 30, 2)), 0.5)
    corners = parts.op("Concat", near, parts.op("Add", near, parts.number(0.4)), axis=2)
    label = parts.op("ArgMax", parts.table(features, 30, 5), axis=2, keepdims=0)
    score = parts.op("Sigmoid", parts.table(features, 30))
    parts.output("labels", label, [1, 30], INT64)
    parts.output("boxes", parts.op("Mul", corners, sides), [1, 30, 4])
    parts.output("scores", score, [1, 30])
    return parts.proto()


def ssd(*, corners: bool) -> onnx.ModelProto:
    """Scores of a softmax with a background; corners, or offsets from default boxes."""
    parts = Parts()
    features = parts.features(photo(parts))
    scores = parts.op("Softmax", parts.table(features, 1200, 5), axis=2)
    near = parts.scaled(parts.op("Sigmoid", parts.table(features, 1200, 2)), 0.5)
    boxes = parts.op("Concat", near, parts.op("Add", near, parts.number(0.3)), axis=2)
    offsets = parts.table(features, 1200, 4)
    parts.output("scores", scores, [1, 1200, 5])
    parts.output("boxes", boxes if corners else offsets, [1, 1200, 4])
    return parts.proto()


def tensorflow_detector() -> onnx.ModelProto:
    """Also with the boxes before suppression."""
    parts = Parts()
    x = parts.input("input_tensor", [1, "height", "width", 3], TensorProto.UINT8)
    moved = parts.op("Transpose", parts.op("Cast", x, to=1), perm=[0, 3, 1, 2])
    features = parts.features(moved)
    near = parts.scaled(parts.op("Sigmoid", parts.table(features, 10, 2)), 0.5)
    boxes = parts.op("Concat", near, parts.op("Add", near, parts.number(0.3)), axis=2)
    labels = parts.op(
        "Add", parts.op("Round", parts.op("Sigmoid", parts.table(features, 10))), parts.number(1)
    )
    parts.output("detection_boxes", boxes, [1, 10, 4])
    parts.output("detection_classes", labels, [1, 10])
    parts.output("detection_scores", parts.op("Sigmoid", parts.table(features, 10)), [1, 10])
    parts.output("raw_detection_boxes", parts.table(features, 40, 4), [1, 40, 4])
    parts.output("raw_detection_scores", parts.table(features, 40, 5), [1, 40, 5])
    parts.output("num_detections", parts.number([10]), [1])
    return parts.proto(producer="tf2onnx")


def sequence(
    end: str = "LogSoftmax", *, batch_first: bool = True, count: int = 37
) -> onnx.ModelProto:
    """A text recogniser: one row of characters for each step."""
    parts = Parts()
    x = photo(parts, 1, 1, 32, 128)
    table = parts.table(parts.features(x, 1), 24, count)
    table = parts.op(end, table, axis=2) if end else table
    shape = [1, 24, count]
    if not batch_first:
        table, shape = parts.op("Transpose", table, perm=[1, 0, 2]), [24, 1, count]
    parts.output("output", table, shape)
    return parts.proto()


def maps(kind: str) -> onnx.ModelProto:
    """kind: `segmentation`, `classes` (ArgMax), `depth`, `superresolution`, `sigmoid`."""
    parts = Parts()
    channels = 1 if kind == "superresolution" else 3
    x = photo(parts, 1, channels, 64, 64)
    width = {"segmentation": 21, "classes": 21}.get(kind, 1)
    weight = parts.rng.standard_normal((width, channels, 3, 3))
    out = parts.op("Conv", x, parts.number(weight), pads=[1, 1, 1, 1])
    shape: list[int | str] = [1, width, 64, 64]
    if kind == "classes":
        parts.output("out", parts.op("ArgMax", out, axis=1, keepdims=0), [1, 64, 64], INT64)
        return parts.proto()
    if kind == "depth":
        out, shape = parts.op("Squeeze", out, parts.number([1], np.int64)), [1, 64, 64]
    if kind == "superresolution":
        scales = parts.number([1, 1, 2, 2])
        out, shape = parts.op("Resize", out, "", scales), [1, 1, 128, 128]
    if kind == "sigmoid":
        out = parts.op("Sigmoid", out)
    parts.output("out", out, shape)
    return parts.proto()


def measurements() -> onnx.ModelProto:
    """Ten coordinates in pixels."""
    parts = Parts()
    row = parts.op("Softplus", parts.linear(parts.features(photo(parts)), 10))
    parts.output("points", parts.op("Add", row, parts.number(20)), [1, 10])
    return parts.proto()


def landmarks(count: int, *, scaled: bool) -> onnx.ModelProto:
    parts = Parts()
    row = parts.linear(parts.features(photo(parts)), count)
    row = parts.op("HardSwish", row) if not scaled else parts.scaled(parts.op("Sigmoid", row), 1.0)
    parts.output("coords", row, [1, count])
    return parts.proto()


def two_heads() -> onnx.ModelProto:
    parts = Parts()
    features = parts.features(photo(parts))
    parts.output("age", parts.linear(features, 101), [1, 101])
    parts.output("gender", parts.op("Softmax", parts.linear(features, 2)), [1, 2])
    return parts.proto()


def plugin_detector() -> onnx.ModelProto:
    """TensorRT's EfficientNMS, which onnxruntime does not have."""
    parts = Parts()
    features = parts.features(photo(parts))
    boxes, scores = parts.table(features, CELLS, 4), parts.table(features, CELLS, 3)
    names = ["num_dets", "det_boxes", "det_scores", "det_classes"]
    parts.nodes.append(helper.make_node("EfficientNMS_TRT", [boxes, scores], names, domain="TRT"))
    shapes = ([1, 1], [1, 100, 4], [1, 100], [1, 100])
    kinds = (TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT32)
    for name, shape, kind in zip(names, shapes, kinds, strict=True):
        parts.outputs.append(value(name, shape, kind))
    return parts.proto()
