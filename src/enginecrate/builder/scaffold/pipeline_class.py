"""The text of a pipeline class around a vendor's own model, which works as it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from enginecrate.values import PipelineSpec, TensorSpec

__all__ = ["CLASS_FILE", "own_class"]

CLASS_FILE = "pipeline.py"
_CLASS = "pipeline:AppPipeline"

_HEAD = '''\
"""The pipeline of this app: from a photo to the model's input, and from its outputs to the answer.

The manifest names the class: `module = "{module}"`. One object of it serves many
requests at the same time, from several threads: so it must not change after `__init__`.

The model:

{tensors}

Helpers to build with are listed in docs/pipelines.md, "Your own pipeline": decode_image,
resize_image, to_tensor, perspective_crop, nms, find_regions, Geometry.
"""

from __future__ import annotations

from collections.abc import Sequence

{imports}
from enginecrate.values import PipelineSpec, Tensors, TensorSpec


class AppPipeline:
    """{summary}"""

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
            labels: the class names, from the file that the manifest names; may be empty.
            limits: how large a photo may be.
        """
{init}

    @property
    def task(self) -> str:
        """What the app answers: it decides how the dashboard shows the result."""
        return "{task}"

    def prepare(self, payload: bytes | memoryview) -> Prepared:
        """Before the engine: from the bytes that a client sent to the model's inputs.

        To do it all yourself, return `Prepared({{input name: array}}, context)`: each array has a
        batch dimension of 1 in front, and `context` is whatever `finish` needs to know later.
        """
{prepare}

    def finish(self, outputs: Tensors, context: {context}) -> {result}:
        """After the engine: from the model's outputs for this photo to the answer.

        `outputs` maps the name of each output to its array, with a batch dimension of 1.
        """
{finish}
'''

_IMAGE_INPUT = """\
        # Decodes, turns upright, resizes and normalises, as [pipeline] says.
        self._input = ImageInput.create(spec, inputs, limits)"""

_PREPARE_IMAGE = """\
        tensors, geometry = self._input.prepare(payload)
        return Prepared(tensors, geometry)"""

_MAP = {
    "summary": "Finds regions of a map (text, defects ...) and answers a box around each.",
    "imports": """\
from enginecrate.pipelines.base import Detection, DetectionResult, Limits, Prepared
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.labels import class_name
from enginecrate.pipelines.regions import find_regions""",
    "init": f"""\
{_IMAGE_INPUT}
        self._output = outputs[0].name
        self._label = class_name(labels, 0)
        self._threshold = spec.score_threshold
        self._most = spec.max_detections""",
    "task": "detection",
    "prepare": """\
        tensors, geometry = self._input.prepare(payload)
        height, width = tensors[self._input.tensor.name].shape[{axes}]
        return Prepared(tensors, (geometry, height, width))""",
    "context": "tuple[Geometry, int, int]",
    "result": "DetectionResult",
    "finish": """\
        geometry, height, width = context
        scores = outputs[self._output][0, 0]
        regions = find_regions(scores > PIXEL, scores, min_pixels=SMALLEST)
        regions = [region for region in regions if region.score >= self._threshold]
        regions.sort(key=lambda region: -region.score)
        # The map may be smaller than the model's input: boxes go by its pixels, not by the map's.
        step_y, step_x = height / scores.shape[0], width / scores.shape[1]
        boxes = [
            (x1 * step_x, y1 * step_y, x2 * step_x, y2 * step_y)
            for x1, y1, x2, y2 in (region.box for region in regions)
        ]
        found = [
            Detection(self._label, 0, min(1.0, round(region.score, 4)), tuple(box))
            for region, box in zip(regions, geometry.boxes_to_image(boxes).tolist(), strict=True)
        ]
        return DetectionResult(geometry.width, geometry.height, found[: self._most])""",
}

_CONSTANTS = '''

PIXEL = 0.3
"""A pixel of the map from this on belongs to something."""

SMALLEST = 20
"""Regions of fewer pixels are noise."""
'''

_IMAGE = {
    "summary": "Answers the model's own tensors.",
    "imports": """\
from enginecrate.pipelines.base import Limits, Prepared, TensorsResult
from enginecrate.pipelines.geometry import Geometry
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.tensors import tensor_result""",
    "init": f"""\
{_IMAGE_INPUT}
        self._outputs = outputs""",
    "task": "image",
    "prepare": _PREPARE_IMAGE,
    "context": "Geometry",
    "result": "TensorsResult",
    "finish": """\
        # To answer boxes, set task = "detection" here and in the manifest, and return
        # DetectionResult(context.width, context.height, [Detection(label, 0, score, box), ...]):
        # context.boxes_to_image maps boxes from the model's input to the photo. For classes it is
        # "classification" and ClassificationResult.
        tensors = [tensor_result(spec, outputs[spec.name]) for spec in self._outputs]
        return TensorsResult(tensors)""",
}


def _wrapped(task: str, module: str, context: str, advice: str) -> dict[str, str]:
    """A class that hands everything on to a built-in pipeline."""
    name = {"tensors": "Tensors"}.get(task, task.capitalize())
    geometry = (
        "from enginecrate.pipelines.geometry import Geometry\n" if context == "Geometry" else ""
    )
    names = ", ".join(sorted([f"{name}Result", "Limits", "Prepared"]))
    lines = [
        f"from enginecrate.pipelines.base import {names}\n",
        f"from enginecrate.pipelines.{module} import {name}Pipeline\n",
        geometry,
    ]
    return {
        "summary": f"Answers as the built-in pipeline for {task} does; change what you like.",
        "imports": "".join(sorted(lines)).rstrip(),
        "init": f"        self._built_in = {name}Pipeline(spec, inputs, outputs, labels, limits)",
        "task": task,
        "prepare": "        return self._built_in.prepare(payload)",
        "context": context,
        "result": f"{name}Result",
        "finish": f"{advice}\n        return self._built_in.finish(outputs, context)",
    }


_WRAPPED = {
    "detection": _wrapped(
        "detection", "detection", "Geometry",
        "        # Its `detections` have label, class_id, score and box in pixels of the photo.",
    ),
    "classification": _wrapped(
        "classification", "classification", "Geometry",
        "        # Its `classes` have label, class_id and score, best first.",
    ),
    "tensors": _wrapped(
        "tensors", "tensors", "None",
        "        # Its `outputs` have name, datatype, shape and data.",
    ),
}  # fmt: skip


def own_class(
    spec: PipelineSpec, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> tuple[PipelineSpec, str]:
    """The class around a model.

    Args:
        spec: what was guessed. A model that no built-in pipeline reads gets a class that shows
            how to read it, when a photo can go in.
        inputs: of the model.
        outputs: of the model.

    Returns:
        The section for the manifest, which names the class; and the text of `CLASS_FILE`.
    """
    if spec.task != "image":
        return _rendered(spec, inputs, outputs, _WRAPPED[spec.task])
    if not _is_map(outputs):
        return _rendered(spec, inputs, outputs, _IMAGE)
    spec = msgspec.structs.replace(spec, task="detection")
    if spec.size is not None:  # the model's own is open
        spec = msgspec.structs.replace(
            spec, size=None, resize="proportional", multiple=32, long_side=960
        )
    axes = "2:" if spec.layout == "nchw" else "1:3"
    parts = {**_MAP, "prepare": _MAP["prepare"].replace("{axes}", axes)}
    made, text = _rendered(spec, inputs, outputs, parts)
    first, marker, rest = text.partition("\n\n\nclass AppPipeline")
    return made, first + _CONSTANTS + marker[1:] + rest


def _is_map(outputs: Sequence[TensorSpec]) -> bool:
    """One output [batch,1,height,width]: a score for each pixel."""
    return len(outputs) == 1 and len(outputs[0].shape) == 4 and outputs[0].shape[1] == 1


def _rendered(
    spec: PipelineSpec,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    parts: dict[str, str],
) -> tuple[PipelineSpec, str]:
    text = _HEAD.format(
        module=_CLASS,
        tensors="\n".join(
            [
                *(f"    input   {_words(tensor)}" for tensor in inputs),
                *(f"    output  {_words(tensor)}" for tensor in outputs),
            ]
        ),
        **parts,
    )
    return msgspec.structs.replace(spec, module=_CLASS), text


def _words(tensor: TensorSpec) -> str:
    """A tensor for a comment: a name from a model's file must not end the text that it is in."""
    return json.dumps(str(tensor))[1:-1].replace("\\", "/")
