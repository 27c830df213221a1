"""DETR: a fixed set of queries, each with class logits and one box; no suppression is needed.

With softmax (DETR, arXiv 2005.12872) the last class means "no object". With sigmoid
(Deformable DETR, Conditional DETR, RT-DETR) there is no such class. Models that end with their
post-processing (RT-DETR, D-FINE: `labels`, `boxes`, `scores`, with the size as the constant
`orig_target_sizes`) give finished boxes in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from enginecrate.pipelines.decoders.base import Candidates, Decoder, Head
from enginecrate.pipelines.decoders.boxes import to_corners, to_pixels
from enginecrate.pipelines.decoders.finished_options import SeparateOptions
from enginecrate.pipelines.decoders.options import Activation, Options, parse_options
from enginecrate.pipelines.decoders.scores import logit, select, sigmoid, softmax
from enginecrate.pipelines.decoders.separate import create_separate_boxes
from enginecrate.pipelines.decoders.tensors import find_boxes_and_scores, first_sample, unfit
from enginecrate.values import Tensors

__all__ = ["DetrDecoder", "DetrOptions", "create_detr"]

_NAME = "detr"


class DetrOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Boxes are centre x, centre y, width, height in parts of the input's width and height."""

    logits: str | None = None
    """The output [batch,queries,classes]. Default: the only one that is not the boxes."""
    boxes: str | None = None
    """The output [batch,queries,4]. Default: the only one with 4 columns."""
    activation: Activation = "softmax"
    """`softmax`: the last class means no object. `none`: scores, without such a class."""
    label_offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The model's class that has the first label; lower classes are left out."""
    multi_label: bool | None = None
    """Let one query answer several classes. Default: only with `sigmoid`."""
    scores: str | None = None
    """Finished boxes: the output [batch,queries] with scores. Default: by datatype or name."""
    labels: str | None = None
    """Finished boxes: the output [batch,queries] with classes. Default: by datatype or name."""
    normalised: bool = False
    """Finished boxes are parts of the input's width and height, not pixels."""


@dataclass(frozen=True, slots=True)
class DetrDecoder:
    """Reads DETR's two outputs."""

    logits: str
    boxes: str
    classes: int
    options: DetrOptions
    head: Head
    needs_nms: bool = False

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        scores, threshold = first_sample(outputs, self.logits), score_threshold
        if self.options.activation == "softmax":
            scores = softmax(scores)[:, :-1]
        elif self.options.activation == "sigmoid":
            threshold = logit(threshold)
        multi_label = self.options.multi_label
        rows, classes, picked = select(
            scores[:, self.options.label_offset :],
            threshold,
            multi_label=self.options.activation == "sigmoid"
            if multi_label is None
            else multi_label,
        )
        if self.options.activation == "sigmoid":
            picked = sigmoid(picked)
        boxes = np.asarray(outputs[self.boxes][0][rows], dtype=np.float32)
        return Candidates(to_pixels(to_corners(boxes), self.head), picked, classes)


def create_detr(options: Mapping[str, Any], head: Head) -> Decoder:
    """Find DETR's two outputs, or the three of its post-processing.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
    """
    parsed = parse_options(_NAME, options, DetrOptions)

    if sum(len(output.shape) == 2 for output in head.outputs) >= 2:
        finished = SeparateOptions(
            boxes=parsed.boxes, scores=parsed.scores, labels=parsed.labels,
            normalised=parsed.normalised, label_offset=parsed.label_offset,
        )  # fmt: skip
        return create_separate_boxes(_NAME, finished, head, 0)
    # Exports of `transformers` give hidden states, too, which have the same number of rows.
    by_name = [output.name for output in head.outputs if "logit" in output.name.lower()]
    named = parsed.logits or (by_name[0] if len(by_name) == 1 else None)
    boxes, logits = find_boxes_and_scores(
        _NAME, head, (parsed.boxes, "an output [batch,queries,4] with boxes"),
        ("logits", named,
         "an output [batch,queries,classes] with as many queries as the boxes"),
    )  # fmt: skip
    classes = logits.shape[-1] - (parsed.activation == "softmax") - parsed.label_offset
    if classes < 1:
        raise unfit(
            _NAME, f"more classes than decoder_options.label_offset = {parsed.label_offset}", head
        )
    return DetrDecoder(logits.name, boxes.name, classes, parsed, head)
