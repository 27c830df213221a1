"""SSD: boxes and class scores, as they leave the network or after suppression in the model.

Read are three forms, told apart by their shapes:

- raw: [batch,N,4] and [batch,N,classes]. The boxes are offsets from default boxes (then the
  options `scales`, `aspect_ratios` and `feature_maps` or `steps` describe those), or
  corners already (when `scales` is not set).
- suppressed, one output: [1,1,N,7], rows of image, class, score, x1, y1, x2, y2: what
  Caffe's, OpenCV's and OpenVINO's DetectionOutput layer makes.
- suppressed, three outputs: boxes [batch,N,4], scores [batch,N] and labels [batch,N], perhaps with
  a count. TensorFlow's Object Detection API (`detection_boxes`, whose columns are y1, x1, y2, x2)
  and TFLite's post-processing are told by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enginecrate.pipelines.decoders.base import Decoder, Head
from enginecrate.pipelines.decoders.options import parse_options
from enginecrate.pipelines.decoders.ssd_options import SsdOptions
from enginecrate.pipelines.decoders.ssd_raw import create_raw
from enginecrate.pipelines.decoders.ssd_suppressed import create_joined, create_separate

__all__ = ["create_ssd"]


def create_ssd(options: Mapping[str, Any], head: Head) -> Decoder:
    """Find SSD's outputs, and which form they have.

    Raises:
        PipelineInvalid: the options or the model's outputs do not fit, or leave a choice.
        LabelsInvalid: the number of labels is not the model's number of classes.
    """
    parsed = parse_options("ssd", options, SsdOptions)
    ranks = [len(output.shape) for output in head.outputs]
    if any(len(o.shape) == 4 and o.shape[-1] == 7 for o in head.outputs):
        return create_joined(parsed, head)
    if ranks.count(2) >= 2:
        return create_separate(parsed, head)
    return create_raw(parsed, head)
