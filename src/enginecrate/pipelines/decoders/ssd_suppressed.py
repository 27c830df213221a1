"""SSD models that suppress overlapping boxes themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enginecrate.pipelines.decoders.base import Candidates, Floats, Head
from enginecrate.pipelines.decoders.boxes import to_pixels
from enginecrate.pipelines.decoders.ssd_options import NAME, SsdOptions
from enginecrate.pipelines.decoders.tensors import find_output, first_sample
from enginecrate.values import Tensors, TensorSpec

__all__ = ["create_joined", "create_separate"]


@dataclass(frozen=True, slots=True)
class _Joined:
    """One output [1,1,N,7]: image, class, score, x1, y1, x2, y2."""

    output: str
    options: SsdOptions
    head: Head
    classes: None = None
    needs_nms: bool = False

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        rows = first_sample(outputs, self.output).reshape(-1, 7)
        rows = rows[rows[:, 0] >= 0]  # an image of -1 fills the table up
        return _pick(rows[:, 3:], rows[:, 2], rows[:, 1], score_threshold, self.options, self.head)


@dataclass(frozen=True, slots=True)
class _Separate:
    """Three outputs: boxes [batch,N,4], scores [batch,N], labels [batch,N]."""

    boxes: str
    scores: str
    labels: str
    options: SsdOptions
    head: Head
    classes: None = None
    needs_nms: bool = False

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        boxes, scores, labels = (
            first_sample(outputs, name) for name in (self.boxes, self.scores, self.labels)
        )
        return _pick(boxes, scores, labels, score_threshold, self.options, self.head)


def _pick(
    boxes: Floats,
    scores: Floats,
    labels: Floats,
    threshold: float,
    options: SsdOptions,
    head: Head,
) -> Candidates:
    keep = np.flatnonzero((scores >= threshold) & (labels >= options.first_class))
    classes = labels[keep].astype(np.intp) - options.first_class
    corners = to_pixels(boxes[keep], head) if options.normalised else boxes[keep]
    return Candidates(corners, scores[keep], classes)


def create_joined(options: SsdOptions, head: Head) -> _Joined:
    """Find the one output of a DetectionOutput layer.

    Raises:
        PipelineInvalid: there are several.
    """

    def is_table(output: TensorSpec) -> bool:
        return len(output.shape) == 4 and output.shape[-1] == 7

    output = find_output(NAME, "boxes", options.boxes, head, is_table, "an output [1,1,N,7]")
    return _Joined(output.name, options, head)


def create_separate(options: SsdOptions, head: Head) -> _Separate:
    """Find boxes by their shape, scores and labels by their names.

    Raises:
        PipelineInvalid: an output is missing, or several fit.
    """

    def is_boxes(output: TensorSpec) -> bool:
        return len(output.shape) == 3 and output.shape[-1] == 4

    def named(name: str | None, *words: str) -> str:
        def fits(output: TensorSpec) -> bool:
            lower = output.name.lower()
            return len(output.shape) == 2 and (name is not None or any(w in lower for w in words))

        expected = f"an output [batch,N] with {words[0]!r} in its name"
        return find_output(NAME, f"{words[0]}s", name, head, fits, expected).name

    boxes = find_output(NAME, "boxes", options.boxes, head, is_boxes, "an output [batch,N,4]")
    scores = named(options.scores, "score", "conf", "prob")
    labels = named(options.labels, "label", "class")
    return _Separate(boxes.name, scores, labels, options, head)
