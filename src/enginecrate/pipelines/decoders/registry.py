"""The decoders by the name that `[pipeline] decoder` gives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from enginecrate.errors import PipelineInvalid, nearest
from enginecrate.pipelines.decoders.base import Decoder, DecoderFactory, Head
from enginecrate.pipelines.decoders.detr import create_detr
from enginecrate.pipelines.decoders.joined import create_paddle, create_yolov7
from enginecrate.pipelines.decoders.nanodet import create_nanodet
from enginecrate.pipelines.decoders.separate import create_efficient_nms, create_torchvision
from enginecrate.pipelines.decoders.ssd import create_ssd
from enginecrate.pipelines.decoders.yolo import create_yolo
from enginecrate.pipelines.decoders.yolox import create_yolox

__all__ = ["DECODERS", "OPEN_SIZE", "create_decoder", "unknown_decoder"]

DECODERS: Mapping[str, DecoderFactory] = MappingProxyType({
    "detr": create_detr,
    "nanodet": create_nanodet,
    "ssd": create_ssd,
    "yolo": create_yolo,
    "efficientnms": create_efficient_nms,
    "paddledetection": create_paddle,
    "torchvision": create_torchvision,
    "yolov7": create_yolov7,
    "yolox": create_yolox,
})  # fmt: skip

OPEN_SIZE = ("efficientnms", "paddledetection", "torchvision")
"""Decoders of finished boxes in pixels: they need not know the size of the model's input."""

_OTHER_NAMES = {
    "torchvision": ("fasterrcnn", "fcos", "keypointrcnn", "maskrcnn", "retinanet", "ssdlite"),
    "ssd": ("efficientdet", "mobilenetssd", "mobilenetv1ssd", "mobilenetv2ssd", "ssdmobilenet",
            "tfod", "tensorflow", "tflite"),
    "detr": ("conditionaldetr", "dabdetr", "deformabledetr", "deim", "dfine", "rfdetr", "rtdetr",
             "rtdetrv2", "yolos"),
    "nanodet": ("picodet", "gfl"),
    "paddledetection": ("paddle", "paddledet", "ppdoclayout", "ppyolo", "ppyoloe", "ppyoloeplus"),
    "efficientnms": ("batchednms", "tensorrt", "trt", "trtnms"),
    "yolo": ("ultralytics", "end2end", "nudenet", "yolov3u", "yolov5", "yolov5u", "yolov6",
             "yolov8", "yolov9", "yolov10", "yolov11", "yolo11", "yolov12", "yolo12", "yolo13",
             "yolov26", "yolo26", "yoloworld", "doclayoutyolo"),
}  # fmt: skip
"""Models by the names that the field has for them, and the decoder that reads their outputs."""


def unknown_decoder(name: str) -> str:
    """A sentence about a name that no decoder has: which there are, and which it may mean."""
    plain = "".join(char for char in name.lower() if char.isalnum())
    advice = nearest(name, DECODERS)
    if family := _FAMILIES.get(plain) or _FAMILIES.get(plain.rstrip("nsmlx")):
        advice = f'; {family} reads the outputs of such models: write decoder = "{family}"'
    return f"no decoder is called {name!r}; there are {', '.join(DECODERS)}{advice}"


_FAMILIES = {other: name for name, others in _OTHER_NAMES.items() for other in others}
_FAMILIES |= {name: name for name in DECODERS}


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
        raise PipelineInvalid(f"[pipeline] decoder: {unknown_decoder(name)}")
    return DECODERS[name](options, head)
