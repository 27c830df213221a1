"""SSD models that suppress overlapping boxes themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enginecrate.pipelines.decoders.base import Candidates, Floats, Head
from enginecrate.pipelines.decoders.boxes import to_pixels
from enginecrate.pipelines.decoders.ssd_options import NAME, SsdOptions
from enginecrate.pipelines.decoders.tensors import find_output, first_sample
from enginecrate.values import Tensors, TensorSpec

__all__ = ["create_joined", "create_separate"]


def _candidates(
    boxes: Floats, scores: Floats, classes: Floats, keep: Floats, options: SsdOptions, head: Head
) -> Candidates: ...
