"""The decoders by the name that `[pipeline] decoder` gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.decoders.base import Decoder, DecoderFactory, Head
from enginecrate.pipelines.decoders.detr import create_detr
from enginecrate.pipelines.decoders.nanodet import create_nanodet
from enginecrate.pipelines.decoders.ssd import create_ssd
from enginecrate.pipelines.decoders.yolo import create_yolo

__all__ = ["DECODERS", "create_decoder"]

DECODERS: Mapping[str, DecoderFactory] = MappingProxyType(
    {"detr": create_detr, "nanodet": create_nanodet, "ssd": create_ssd, "yolo": create_yolo}
)


def create_decoder(name: str | None, options: Mapping[str, Any], head: Head) -> Decoder:
    """Make the decoder of this name for a model.

    Raises:
        PipelineInvalid: no such decoder, unknown or wrong options, or outputs that it cannot read.
        LabelsInvalid: the number of labels is not the model's number of classes.
    """
    known = ", ".join(DECODERS)
    if name is None:
        raise PipelineInvalid(
            f"[pipeline] decoder is missing: the task 'detection' needs one of {known}"
        )
    if name not in DECODERS:
        raise PipelineInvalid(
            f"[pipeline] decoder: no decoder is called {name!r}; there are "
            f"{known}{nearest(name, DECODERS)}"
        )
    return DECODERS[name](options, head)
