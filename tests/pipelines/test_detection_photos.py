"""The sample detector on the sample photos: a trained model, real pictures, our pipeline."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from enginecrate.pipelines.base import DetectionResult, Limits
from enginecrate.pipelines.decoders import nanodet
from enginecrate.pipelines.decoders.scores import softmax
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec

SAMPLE = Path(__file__).parents[2] / "samples" / "detection"

Detect = Callable[[str], DetectionResult]


def specs(arguments: list[onnxruntime.NodeArg]) -> list[TensorSpec]:
    return [
        TensorSpec(
            argument.name,
            DataType.FP32,
            tuple(size if isinstance(size, int) else -1 for size in argument.shape),
        )
        for argument in arguments
    ]


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        SAMPLE / "models" / "nanodet-g-416.onnx", providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def pipeline(session: onnxruntime.InferenceSession) -> DetectionPipeline:
    table = tomllib.loads((SAMPLE / "enginecrate.toml").read_text())["pipeline"]
    spec = PipelineSpec(
        task="detection",
        decoder="nanodet",
        resize="stretch",
        color="bgr",
        mean=(103.53, 116.28, 123.675),
        std=(57.375, 57.12, 58.395),
        score_threshold=0.4,
        iou_threshold=0.5,
    )
    labels = json.loads((SAMPLE / table["labels"]).read_text())
    return DetectionPipeline(
        spec, specs(session.get_inputs()), specs(session.get_outputs()), labels, Limits()
    )


def outputs_for(
    photo: str, session: onnxruntime.InferenceSession, pipeline: DetectionPipeline
) -> tuple[dict[str, np.ndarray], object]:
    prepared = pipeline.prepare((SAMPLE / "golden" / photo).read_bytes())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(prepared.tensors)), strict=True)), (
        prepared.context
    )


@pytest.mark.parametrize(
    ("photo", "label", "least"),
    [("astronaut.png", "person", 0.6), ("camera.png", "person", 0.6), ("coffee.png", "cup", 0.4)],
)
def test_the_detector_sees_what_is_there(
    photo: str,
    label: str,
    least: float,
    session: onnxruntime.InferenceSession,
    pipeline: DetectionPipeline,
) -> None:
    result = pipeline.finish(*outputs_for(photo, session, pipeline))
    best = result.detections[0]

    assert best.label == label
    assert best.score >= least
    x1, y1, x2, y2 = best.box
    assert 0 <= x1 < x2 <= result.width
    assert 0 <= y1 < y2 <= result.height
    assert (x2 - x1) * (y2 - y1) > 0.2 * result.width * result.height


def test_finish_costs_less_than_decoding_every_cell(
    session: onnxruntime.InferenceSession,
    pipeline: DetectionPipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the few of 3,549 cells that pass may get to the softmax over the bins."""
    cells = []

    def counted(bins: np.ndarray) -> np.ndarray:
        cells.append(len(bins))
        return softmax(bins)

    monkeypatch.setattr(nanodet, "softmax", counted)
    outputs, context = outputs_for("astronaut.png", session, pipeline)
    pipeline.finish(outputs, context)
    best = [outputs[name].max(axis=-1) for name in outputs if outputs[name].shape[-1] == 80]
    assert sum(one.size for one in best) == 3549
    assert 0 < sum(cells) == sum(int((one >= 0.4).sum()) for one in best) < 100
