"""Models that answer finished boxes, scores and labels as outputs of their own.

- `torchvision`: boxes [n,4] in pixels, scores [n], labels [n] for one image, in any order and under
  any names; class 0 is the background and never answered. Masks and key points are passed over.
- `efficientnms`: num_dets [batch,1], det_boxes [batch,n,4], det_scores [batch,n] and det_classes
  [batch,n], as TensorRT's EfficientNMS and BatchedNMS plugins give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.finished_boxes import Finish, SeparateBoxes, find_separate
from enginecrate.pipelines.decoders.finished_options import SeparateOptions
from enginecrate.pipelines.decoders.options import parse_options

__all__ = ["create_efficient_nms", "create_separate_boxes", "create_torchvision"]


def create_torchvision(options: Mapping[str, Any], head: Head) -> SeparateBoxes:
    """Find the outputs of a torchvision detector.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
    """
    parsed = parse_options("torchvision", options, SeparateOptions)
    return create_separate_boxes("torchvision", parsed, head, 0 if head.background else 1)


def create_efficient_nms(options: Mapping[str, Any], head: Head) -> SeparateBoxes:
    """Find the outputs of an NMS plugin.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
    """
    parsed = parse_options("efficientnms", options, SeparateOptions)
    return create_separate_boxes("efficientnms", parsed, head, 0)


def create_separate_boxes(
    decoder: str, options: SeparateOptions, head: Head, first_class: int
) -> SeparateBoxes:
    """Find the outputs.

    Args:
        decoder: names it in messages.
        options: of the decoder.
        head: the model's outputs.
        first_class: the model's class that has the first label, unless the options say.

    Raises:
        PipelineInvalid: an output is missing, or several fit.
    """
    names = find_separate(
        decoder, head, boxes=options.boxes, scores=options.scores, labels=options.labels,
        count=options.count,
    )  # fmt: skip
    given = options.label_offset
    finish = Finish(
        decoder,
        options.box_format,
        options.normalised,
        first_class if given is None else given,
        given is None,
        head,
    )
    return SeparateBoxes(names, finish)
