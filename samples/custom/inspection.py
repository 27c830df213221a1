"""The pipeline of this app: who and what is near, on photos of a car park.

The manifest names the class: `module = "inspection:Inspection"`. One object of it serves many
requests at the same time, from several threads: so it must not change after `__init__`.
"""

from __future__ import annotations

from collections.abc import Sequence

from enginecrate.pipelines.base import Detection, DetectionResult, Limits, Prepared
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.pipelines.geometry import Geometry
from enginecrate.values import PipelineSpec, Tensors, TensorSpec

GROUPS = {
    "person": "person",
    "bicycle": "vehicle",
    "bus": "vehicle",
    "car": "vehicle",
    "motorcycle": "vehicle",
    "truck": "vehicle",
}
"""The model's labels that matter here, and what this app calls them. All others are left out."""

SMALLEST_SHARE = 0.01
"""A box that covers less of the photo than this is too far away to matter."""


class Inspection:
    """Detects as the built-in pipeline does, then keeps what is near and gives it our names."""

    def __init__(
        self,
        spec: PipelineSpec,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        labels: Sequence[str],
        limits: Limits,
    ) -> None:
        """Prepare everything that is the same for each photo.

        Args:
            spec: the `[pipeline]` section of the manifest.
            inputs: name, datatype and shape of the model's inputs; -1 is a dynamic dimension.
            outputs: the same of its outputs.
            labels: the model's class names, from the file that the manifest names.
            limits: how large an image may be.
        """
        self._detector = DetectionPipeline(spec, inputs, outputs, labels, limits)

    @property
    def task(self) -> str:
        """What the app answers: it decides how the dashboard shows the result."""
        return "detection"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        """Before the engine: from the bytes of a photo to the model's input.

        To do it all yourself, return `Prepared({input name: array}, context)`: the array has a
        batch dimension of 1 in front, and `context` is whatever `finish` needs to know later.
        """
        return self._detector.prepare(payload)

    def finish(self, outputs: Tensors, context: Geometry) -> DetectionResult:
        """After the engine: from the model's outputs for this photo to the answer.

        `outputs` maps the name of each output to its array, with a batch dimension of 1.
        """
        found = self._detector.finish(outputs, context)
        kept = [
            Detection(GROUPS[thing.label], thing.class_id, thing.score, thing.box)
            for thing in found.detections
            if thing.label in GROUPS and _share(thing, found) >= SMALLEST_SHARE
        ]
        return DetectionResult(found.width, found.height, kept)


def _share(thing: Detection, photo: DetectionResult) -> float:
    """How much of the photo a box covers: 0 to 1."""
    x1, y1, x2, y2 = thing.box
    return (x2 - x1) * (y2 - y1) / (photo.width * photo.height)
