"""A project whose INT8 graph is wrong: one layer's input has values that drown the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.settings import Settings
from tiny_models import constant, model, save, value
from tiny_project import BLUE, GREEN, RED, make_project, photo, write_photos

CALIBRATION = "\n[precision]\naccept_few = true\ncalibration = { images = 'calibration/' }\n"
DROWNED = "choose"
"""The node that must stay in float."""


def outlier_classifier() -> onnx.ModelProto:
    """Tells colours apart by three small numbers beside three that are 1000 times as large.

    image [batch, 3, 8, 8] to logits [batch, 3]; nearly all multiply-adds are in the convolution.
    """
    spread = np.concatenate([np.eye(3), 1000 * np.eye(3)], axis=1)
    choose = np.concatenate([2 * np.eye(3), np.zeros((3, 3))])
    kernel = np.zeros((3, 3, 3, 3))
    kernel[[0, 1, 2], [0, 1, 2], 1, 1] = 1
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["same"], "look", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["same"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "spread", "zeros"], ["wide"], "spread_out"),
        helper.make_node("Relu", ["wide"], ["positive"], "rectify"),
        helper.make_node("Gemm", ["positive", "choose", "none"], ["logits"], DROWNED),
    ]
    constants = [
        constant("kernel", kernel.astype(np.float32)),
        constant("spread", spread.astype(np.float32)),
        constant("zeros", np.zeros(6, np.float32)),
        constant("choose", choose.astype(np.float32)),
        constant("none", np.zeros(3, np.float32)),
    ]
    image = value("image", ["batch", 3, 8, 8])
    return model(nodes, [image], [value("logits", ["batch", 3])], constants)


def make_outlier_project(root: Path, at: Settings, extra: str = CALIBRATION) -> Path:
    """With golden samples, nine photos to calibrate with, and one file that is no photo."""
    make_project(root, extra=extra)
    save(outlier_classifier(), root / "colors.onnx")
    folder = root / "calibration"
    folder.mkdir()
    for size in (12, 20, 28):
        for name, color in (("red", RED), ("green", GREEN), ("blue", BLUE)):
            (folder / f"{name}{size}.png").write_bytes(photo(color, (size, size)))
    (folder / "torn.png").write_bytes(b"no picture")
    predictor = open_predictor(root, at)
    record_golden(predictor.predict, root / "golden", write_photos(root.parent / "photos"))
    predictor.close()
    return root
