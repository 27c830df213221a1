"""Readers of boxes that the model has finished: thresholds, classes and units are all that is left.

They come in outputs of their own (boxes, scores, labels, perhaps a count), or as rows of one table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enginecrate.errors import PipelineInvalid
from enginecrate.pipelines.decoders.base import Candidates, Floats, Head
from enginecrate.pipelines.decoders.boxes import BoxFormat, in_pixels
from enginecrate.pipelines.decoders.tensors import find_output, named_output
from enginecrate.values import DataType, Tensors, TensorSpec

__all__ = ["Columns", "Finish", "JoinedRows", "SeparateBoxes", "SeparateNames", "find_separate"]

_WHOLE = (DataType.INT64, DataType.INT32, DataType.UINT8, DataType.INT8, DataType.UINT16,
          DataType.INT16, DataType.UINT32, DataType.UINT64)  # fmt: skip
_SCORE_WORDS = ("score", "conf", "prob")
_LABEL_WORDS = ("label", "class", "cls")
_COUNT_WORDS = ("num",)


@dataclass(frozen=True, slots=True)
class Finish:
    """The last step from finished boxes to candidates.

    first_class: the model's class that has the first label.
    strict: a class from 0 to below `first_class` is an error; otherwise it is left out.
    """

    decoder: str
    box_format: BoxFormat
    normalised: bool
    first_class: int
    strict: bool
    head: Head

    def pick(self, boxes: Floats, scores: Floats, labels: Floats, threshold: float) -> Candidates:
        """The boxes whose score reaches the threshold."""
        passing = scores >= threshold
        keep = np.flatnonzero(passing & (labels >= self.first_class))
        if self.strict and (passing & (labels >= 0) & (labels < self.first_class)).any():
            raise PipelineInvalid(
                f"the model gave a class below {self.first_class}, and the decoder "
                f"{self.decoder!r} counts from {self.first_class} with these options: if the "
                "model has no class for the background, set "
                "[pipeline] decoder_options.label_offset = 0"
            )
        classes = labels[keep].astype(np.intp) - self.first_class
        corners = in_pixels(boxes[keep], self.box_format, self.head, normalised=self.normalised)
        return Candidates(corners, scores[keep], classes)


@dataclass(frozen=True, slots=True)
class SeparateNames:
    """The outputs with boxes [N,4], scores [N] and labels [N].

    batched: each has a batch dimension in front.
    count: the output that says how many rows count; `None` when all do.
    """

    boxes: str
    scores: str
    labels: str
    count: str | None
    batched: bool


@dataclass(frozen=True, slots=True)
class SeparateBoxes:
    """Reads boxes, scores and labels that are outputs of their own."""

    names: SeparateNames
    finish: Finish
    classes: None = None
    needs_nms: bool = False

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        names = self.names
        boxes = np.asarray(outputs[names.boxes], np.float32)
        scores = np.asarray(outputs[names.scores], np.float32)
        labels = np.asarray(outputs[names.labels])
        if names.batched:
            boxes, scores, labels = boxes[0], scores[0], labels[0]
        count = _counted(outputs, names.count, len(boxes))
        if boxes.shape[1:] != (4,) or not len(boxes) == scores.size == labels.size:
            raise PipelineInvalid(
                f"the decoder {self.finish.decoder!r} expects as many scores and labels as boxes; "
                f"the model gave {boxes.shape} boxes, {scores.shape} scores and {labels.shape} "
                "labels: name the outputs in [pipeline] decoder_options"
            )
        return self.finish.pick(
            boxes[:count], scores.reshape(-1)[:count], labels.reshape(-1)[:count], score_threshold
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table of finished boxes: of the box the first of four.

    image: the number of the image in the batch; `None` when the table has no such column.
    """

    box: int
    score: int
    label: int
    image: int | None = None


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Reads a table with a row for each box."""

    output: str
    columns: Columns
    count: str | None
    finish: Finish
    classes: None = None
    needs_nms: bool = False

    def decode(self, outputs: Tensors, score_threshold: float) -> Candidates:
        table = np.asarray(outputs[self.output], np.float32)
        rows = table.reshape(-1, table.shape[-1])
        at = self.columns
        rows = rows[: _counted(outputs, self.count, len(rows))]
        if at.image is not None:
            rows = rows[rows[:, at.image] == 0]  # an image of -1 fills the table up
        return self.finish.pick(
            rows[:, at.box : at.box + 4], rows[:, at.score], rows[:, at.label], score_threshold
        )


def _counted(outputs: Tensors, name: str | None, rows: int) -> int:
    """How many rows count: as many as the output of this name says, if there is one."""
    if name is None:
        return rows
    said = np.ravel(outputs[name])[:1]
    return int(np.clip(said[0], 0, rows)) if said.size and np.isfinite(said[0]) else rows


def find_separate(
    decoder: str,
    head: Head,
    *,
    boxes: str | None,
    scores: str | None,
    labels: str | None,
    count: str | None,
) -> SeparateNames:
    """Find boxes by their four columns, labels by their datatype, and the rest by their names.

    Args:
        decoder: names it in messages.
        head: the model's outputs.
        boxes: the output that the user named, as the three others.
        scores: the same.
        labels: the same.
        count: the same.

    Raises:
        PipelineInvalid: an output is missing, or several fit.
    """
    box = _boxes(decoder, boxes, head)
    others = [output for output in head.outputs if output.name != box.name]
    counter = named_output(decoder, "count", count, head) if count else _counter(others)
    rows = [output for output in others if output is not counter and _is_beside(output, box)]
    whole = [output for output in rows if output.datatype in _WHOLE]
    if labels is not None:
        label = named_output(decoder, "labels", labels, head)
    elif len(whole) == 1 and whole[0].name != scores:
        label = whole[0]
    else:
        label = _by_name(decoder, "labels", rows, _LABEL_WORDS, head)
    rest = [output for output in rows if output is not label and output.datatype not in _WHOLE]
    if scores is not None:
        score = named_output(decoder, "scores", scores, head)
    elif len(rest) == 1:
        score = rest[0]
    else:
        score = _by_name(decoder, "scores", rest, _SCORE_WORDS, head)
    return SeparateNames(
        box.name, score.name, label.name, counter.name if counter else None, len(box.shape) == 3
    )


def _boxes(decoder: str, name: str | None, head: Head) -> TensorSpec:
    def fits(output: TensorSpec) -> bool:
        return len(output.shape) in (2, 3) and output.shape[-1] == 4

    expected = "an output [N,4] or [batch,N,4] with boxes"
    fitting = [output for output in head.outputs if fits(output)]
    finished = [output for output in fitting if not output.name.lower().startswith("raw")]
    if name is None and len(fitting) > 1 and len(finished) == 1:
        return finished[0]  # TensorFlow's models give raw_detection_boxes, too
    return find_output(decoder, "boxes", name, head, fits, expected)


def _counter(outputs: list[TensorSpec]) -> TensorSpec | None:
    """The number of boxes: one number for each image."""
    fitting = [
        output
        for output in outputs
        if any(word in output.name.lower() for word in _COUNT_WORDS)
        and len(output.shape) <= 2
        and all(side in (1, -1) for side in output.shape)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _is_beside(output: TensorSpec, boxes: TensorSpec) -> bool:
    """True when there may be one number for each box."""
    if len(output.shape) != len(boxes.shape) - 1 or output.datatype is DataType.BYTES:
        return False
    have, want = output.shape[-1], boxes.shape[-2]
    return have == want or -1 in (have, want)


def _by_name(
    decoder: str, key: str, outputs: list[TensorSpec], words: tuple[str, ...], head: Head
) -> TensorSpec:
    def fits(output: TensorSpec) -> bool:
        return output in outputs and any(word in output.name.lower() for word in words)

    return find_output(
        decoder, key, None, head, fits, f"one output [N] or [batch,N] with {words[0]!r} in its name"
    )
