"""Finding a decoder's tensors among a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.decoders.base import Floats, Head
from enginecrate.values import Tensors, TensorSpec

__all__ = ["find_boxes_and_scores", "find_output", "first_sample", "named_output", "unfit"]


def unfit(decoder: str, expected: str, head: Head) -> PipelineInvalid:
    """The error for outputs that a decoder cannot read: what was expected, what there is."""
    return PipelineInvalid(
        f"the decoder {decoder!r} expects {expected}; the model has {head}. "
        "Choose another [pipeline] decoder, or export the model differently"
    )


def named_output(decoder: str, key: str, name: str, head: Head) -> TensorSpec:
    """The output that `decoder_options` names.

    Raises:
        PipelineInvalid: the model has no such output.
    """
    named = next((output for output in head.outputs if output.name == name), None)
    if named is None:
        raise PipelineInvalid(
            f"[pipeline] decoder_options.{key} of {decoder!r}: the model has no output {name!r}, "
            f"only {head}{nearest(name, [output.name for output in head.outputs])}"
        )
    return named


def find_output(
    decoder: str,
    key: str,
    name: str | None,
    head: Head,
    fits: Callable[[TensorSpec], bool],
    expected: str,
) -> TensorSpec:
    """The output that the option `key` names, or else the only one that fits.

    Args:
        decoder: its name, for errors.
        key: the option that may hold the name.
        name: the option's value; `None` when it is not set.
        head: the model's outputs.
        fits: tells by name and shape.
        expected: in words, what fits.

    Raises:
        PipelineInvalid: none fits, or several do.
    """
    if name is not None:
        output = named_output(decoder, key, name, head)
        if not fits(output):
            raise unfit(decoder, f"{expected} in decoder_options.{key} = {name!r}", head)
        return output
    fitting = [output for output in head.outputs if fits(output)]
    if len(fitting) > 1:
        raise PipelineInvalid(
            f"the decoder {decoder!r} finds {expected} in several outputs "
            f"({'; '.join(map(str, fitting))}): name one in [pipeline] decoder_options.{key}"
        )
    if not fitting:
        raise unfit(decoder, expected, head)
    return fitting[0]


def first_sample(outputs: Tensors, name: str) -> Floats:
    """The output of the first (and only) sample, without its batch dimension, as float32."""
    return np.asarray(outputs[name][0], dtype=np.float32)


def find_boxes_and_scores(
    decoder: str,
    head: Head,
    boxes_option: tuple[str | None, str],
    scores_option: tuple[str, str | None, str],
) -> tuple[TensorSpec, TensorSpec]:
    """The output [batch,N,4] with boxes, and the one [batch,N,classes] that belongs to it.

    Args:
        decoder: names it in messages.
        head: the model's outputs.
        boxes_option: the output that the user named, if any; what it should be, in words.
        scores_option: the option's key; the output that the user named; what it should be.

    Raises:
        PipelineInvalid: none of the outputs fits, or several do.
    """
    named_boxes, boxes_words = boxes_option
    key, named_scores, scores_words = scores_option
    boxes = find_output(
        decoder, "boxes", named_boxes, head,
        lambda o: len(o.shape) == 3 and o.shape[-1] == 4 and o.name != named_scores,
        boxes_words,
    )  # fmt: skip
    scores = find_output(
        decoder, key, named_scores, head,
        lambda o: len(o.shape) == 3 and o.shape[-1] > 0 and o.name != boxes.name
        and (o.shape[1] == boxes.shape[1] or -1 in (o.shape[1], boxes.shape[1])),
        scores_words,
    )  # fmt: skip
    return boxes, scores
