"""Models that answer finished boxes as one table of rows [n,6] or [n,7].

- `yolov7`: batch, x1, y1, x2, y2, class, score: YOLOv7's end-to-end export. Its other exports are
  read as `yolo` reads them.
- `paddledetection`: class, score, x1, y1, x2, y2, and beside the table how many rows there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginecrate.pipelines.decoders.base import Decoder, Head
from enginecrate.pipelines.decoders.finished_boxes import Columns, Finish, JoinedRows
from enginecrate.pipelines.decoders.finished_options import TableOptions
from enginecrate.pipelines.decoders.options import parse_options
from enginecrate.pipelines.decoders.tensors import find_output, named_output
from enginecrate.pipelines.decoders.yolo import create_yolo
from enginecrate.values import DataType, TensorSpec

__all__ = ["create_paddle", "create_yolov7"]

_YOLOV7 = Columns(image=0, box=1, label=5, score=6)
_PADDLE = Columns(label=0, score=1, box=2)
_PADDLE_WIDTHS = (6, 7, 8)
"""Class, score and box; PP-DocLayout adds one or two columns with the order of reading."""


def create_yolov7(options: Mapping[str, Any], head: Head) -> Decoder:
    """Find the table of an end-to-end export; without one it is YOLO's usual output.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
        LabelsInvalid: the number of labels is not the model's number of classes.
    """
    if any(len(output.shape) == 3 for output in head.outputs):
        return create_yolo(options, head)
    parsed = parse_options("yolov7", options, TableOptions)
    return _create("yolov7", parsed, head, _YOLOV7, (7,), None)


def create_paddle(options: Mapping[str, Any], head: Head) -> JoinedRows:
    """Find the table and the number of its rows.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
    """
    parsed = parse_options("paddledetection", options, TableOptions)
    counters = [
        output.name
        for output in head.outputs
        if output.datatype in (DataType.INT32, DataType.INT64) and len(output.shape) == 1
    ]
    count = counters[0] if len(counters) == 1 else None
    return _create("paddledetection", parsed, head, _PADDLE, _PADDLE_WIDTHS, count)


def _create(
    decoder: str,
    options: TableOptions,
    head: Head,
    columns: Columns,
    widths: tuple[int, ...],
    count: str | None,
) -> JoinedRows:
    def fits(output: TensorSpec) -> bool:
        return len(output.shape) == 2 and output.shape[1] in (*widths, -1)

    table = find_output(
        decoder, "output", options.output, head, fits, f"a table [n,{widths[0]}] of finished boxes"
    )
    if options.count is not None:
        count = named_output(decoder, "count", options.count, head).name
    finish = Finish(decoder, "xyxy", options.normalised, options.label_offset, False, head)
    return JoinedRows(table.name, columns, count, finish)
