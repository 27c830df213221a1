"""Finding a decoder's tensors among a model's outputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.decoders.base import Floats, Head
from enginecrate.values import Tensors, TensorSpec

__all__ = ["find_output", "first_sample", "named_output", "unfit"]


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
    found = next((output for output in head.outputs if output.name == name), None)
    if found is None:
        raise PipelineInvalid(
            f"[pipeline] decoder_options.{key} of {decoder!r}: the model has no output {name!r}, "
            f"only {head}{nearest(name, [output.name for output in head.outputs])}"
        )
    return found


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
