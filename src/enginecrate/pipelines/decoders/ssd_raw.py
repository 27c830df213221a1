"""SSD's boxes and class scores as they leave the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head
from enginecrate.pipelines.decoders.boxes import to_corners, to_pixels
from enginecrate.pipelines.decoders.default_boxes import apply_offsets, default_boxes
from enginecrate.pipelines.decoders.scores import logit, select, sigmoid, softmax
from enginecrate.pipelines.decoders.ssd_options import NAME, SsdOptions
from enginecrate.pipelines.decoders.tensors import find_boxes_and_scores, first_sample, unfit
from enginecrate.values import Tensors, TensorSpec

__all__ = ["SsdRawDecoder", "create_raw"]


@dataclass(frozen=True, slots=True)
class SsdRawDecoder:
    """Reads [batch,N,4] and [batch,N,classes].

    defaults: (N, 4) default boxes; `None` when the model's boxes are corners already.
    first_class: the model's class that has the first label.
    """

    boxes: str
    scores: str
    classes: int
    first_class: int
    defaults: Floats | None
    options: SsdOptions
    head: Head
    needs_nms: bool = True

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        scores, threshold = first_sample(outputs, self.scores), score_threshold
        if self.options.activation == "softmax":
            scores = softmax(scores)
        elif self.options.activation == "sigmoid":
            threshold = logit(threshold)
        skip = max(self.first_class, int(self.options.background))
        rows, classes, picked = select(
            scores[:, skip:], threshold, multi_label=self.options.multi_label
        )
        if self.options.activation == "sigmoid":
            picked = sigmoid(picked)
        boxes = np.asarray(outputs[self.boxes][0][rows], dtype=np.float32)
        if self.defaults is not None:
            boxes = to_corners(apply_offsets(boxes, self.defaults[rows], self.options.variances))
        if self.options.normalised:
            boxes = to_pixels(boxes, self.head)
        return Candidates(boxes, picked, classes + (skip - self.first_class))


def create_raw(options: SsdOptions, head: Head) -> SsdRawDecoder:
    """Find the two outputs and make the default boxes.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
    """
    boxes, scores = find_boxes_and_scores(
        NAME, head, (options.boxes, "an output [batch,N,4] with boxes, or [1,1,N,7]"),
        ("scores", options.scores, "an output [batch,N,classes] with as many rows as the boxes"),
    )  # fmt: skip
    # A labels file may name the background, too.
    with_background = options.label_offset is None and scores.shape[-1] == head.labels
    first_class = 0 if with_background else options.first_class
    classes = scores.shape[-1] - first_class
    if classes < 1:
        raise unfit(NAME, f"more than {first_class} classes", head)
    defaults = _defaults(options, boxes, head)
    return SsdRawDecoder(boxes.name, scores.name, classes, first_class, defaults, options, head)


def _defaults(options: SsdOptions, boxes: TensorSpec, head: Head) -> Floats | None:
    """The default boxes that the options describe, one for each row of the output."""
    if options.scales is None:
        unused = {
            "aspect_ratios": options.aspect_ratios,
            "feature_maps": options.feature_maps,
            "steps": options.steps,
        }
        if given := [key for key, value in unused.items() if value is not None]:
            raise PipelineInvalid(
                f"[pipeline] decoder_options.{given[0]} of {NAME!r} describes default boxes, "
                "which need scales, too"
            )
        return None
    if not options.normalised:
        raise PipelineInvalid(
            f"[pipeline] decoder_options of {NAME!r}: boxes given as offsets (scales is set) have "
            "no unit of pixels: leave normalised out"
        )
    grids = _grids(options, head)
    _check_lengths(options, len(grids))
    made = default_boxes(
        grids, _cells(options, grids, head), options.scales,
        options.aspect_ratios or [[]] * len(grids), clip=options.clip,
    )  # fmt: skip
    if boxes.shape[1] not in (-1, len(made)):
        counts = ", ".join(f"{rows}x{columns}" for rows, columns in grids)
        raise PipelineInvalid(
            f"[pipeline] decoder_options of {NAME!r} describe {len(made)} default boxes (feature "
            f"maps {counts}), but the model's output {boxes} has {boxes.shape[1]}: correct "
            "feature_maps, steps or aspect_ratios"
        )
    return made


def _grids(options: SsdOptions, head: Head) -> list[tuple[int, int]]:
    if options.feature_maps is not None:
        return options.feature_maps
    if options.steps is None:
        raise PipelineInvalid(
            f"[pipeline] decoder_options of {NAME!r}: default boxes (scales is set) need "
            "feature_maps or steps, too"
        )
    return [(-(-head.height // step), -(-head.width // step)) for step in options.steps]


def _cells(
    options: SsdOptions, grids: list[tuple[int, int]], head: Head
) -> list[tuple[float, float]]:
    if options.steps is None:
        return [(1 / rows, 1 / columns) for rows, columns in grids]
    return [(step / head.height, step / head.width) for step in options.steps]


def _check_lengths(options: SsdOptions, maps: int) -> None:
    lengths: Mapping[str, tuple[int, int]] = {
        "scales": (len(options.scales or ()), maps + 1),
        "aspect_ratios": (
            maps if options.aspect_ratios is None else len(options.aspect_ratios),
            maps,
        ),
        "steps": (maps if options.steps is None else len(options.steps), maps),
    }
    for key, (length, needed) in lengths.items():
        if length != needed:
            raise PipelineInvalid(
                f"[pipeline] decoder_options.{key} of {NAME!r} has {length} entries; "
                f"{maps} feature maps need {needed}"
            )
