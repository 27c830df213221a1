"""SSD models that suppress overlapping boxes themselves."""

from __future__ import annotations

from enginecrate.pipelines.decoders.base import Head
from enginecrate.pipelines.decoders.boxes import BoxFormat
from enginecrate.pipelines.decoders.finished_boxes import (
    Columns,
    Finish,
    JoinedRows,
    SeparateBoxes,
    SeparateNames,
    find_separate,
)
from enginecrate.pipelines.decoders.ssd_options import NAME, SsdOptions
from enginecrate.pipelines.decoders.tensors import find_output
from enginecrate.values import TensorSpec

__all__ = ["create_joined", "create_separate"]

_COLUMNS = Columns(image=0, label=1, score=2, box=3)

_TFLITE = "TFLite_Detection_PostProcess"
"""Its outputs have numbers for names, in this order; its classes have no background."""


def create_joined(options: SsdOptions, head: Head) -> JoinedRows:
    """Find the one output of a DetectionOutput layer.

    Raises:
        PipelineInvalid: there are several.
    """

    def is_table(output: TensorSpec) -> bool:
        return len(output.shape) == 4 and output.shape[-1] == 7

    output = find_output(NAME, "boxes", options.boxes, head, is_table, "an output [1,1,N,7]")
    finish = Finish(
        NAME, options.box_format or "xyxy", options.normalised, options.first_class, False, head
    )
    return JoinedRows(output.name, _COLUMNS, None, finish)


def create_separate(options: SsdOptions, head: Head) -> SeparateBoxes:
    """Find boxes by their shape, scores and labels by their datatypes or names.

    Raises:
        PipelineInvalid: an output is missing, or several fit.
    """
    tflite = [output.name for output in head.outputs if output.name.startswith(_TFLITE)]
    if len(tflite) == 4:
        boxes, labels, scores, count = sorted(tflite)
        names = SeparateNames(boxes, scores, labels, count, batched=True)
    else:
        names = find_separate(
            NAME, head, boxes=options.boxes, scores=options.scores, labels=options.labels,
            count=options.count,
        )  # fmt: skip
    by_name: BoxFormat = "yxyx" if tflite or "detection_boxes" in names.boxes else "xyxy"
    first_class = options.first_class
    if options.label_offset is None and (head.background or len(tflite) == 4):
        first_class = 0
    finish = Finish(
        NAME, options.box_format or by_name, options.normalised, first_class, False, head
    )
    return SeparateBoxes(names, finish)
