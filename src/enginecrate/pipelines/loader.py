"""Makes the pipeline that the manifest asks for: a built-in one, or the ISV's own class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enginecrate.errors import EnginecrateError, PipelineModuleInvalid
from enginecrate.pipelines.base import Limits, Pipeline, PipelineFactory
from enginecrate.pipelines.classification import ClassificationPipeline
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.image_tensors import ImagePipeline
from enginecrate.pipelines.project_module import load_class, own_traceback
from enginecrate.pipelines.tensors import TensorsPipeline
from enginecrate.pipelines.vendor_class import adapted_class
from enginecrate.values import PipelineSpec, TensorSpec

__all__ = ["built_in_input", "create_pipeline"]

_BUILT_IN: dict[str, PipelineFactory] = {
    "classification": ClassificationPipeline,
    "detection": DetectionPipeline,
    "image": ImagePipeline,
    "tensors": TensorsPipeline,
}

_DEFAULT_LIMITS = Limits()


def create_pipeline(
    spec: PipelineSpec,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    root: Path,
    limits: Limits = _DEFAULT_LIMITS,
) -> Pipeline:
    """Make the pipeline of a project.

    Args:
        spec: the `[pipeline]` section.
        inputs: of the model.
        outputs: of the model.
        labels: the class names; empty when there are none.
        root: the project folder, in which `[pipeline] module` is found.
        limits: what one sample may cost.

    Raises:
        PipelineInvalid: the section does not fit the model.
        LabelsInvalid: the labels do not fit the model.
        PipelineModuleInvalid: the ISV's own class cannot be loaded or made.
    """
    if spec.module is None:
        return _BUILT_IN[spec.task](spec, inputs, outputs, labels, limits)
    return _own_pipeline(spec, spec.module, inputs, outputs, labels, root, limits)


def built_in_input(pipeline: Pipeline) -> ImageInput | None:
    """The image input of a built-in pipeline, which is the whole of its `prepare`.

    `None` for the ISV's own class, whatever it derives from, and for tensors.
    """
    if type(pipeline) in (ClassificationPipeline, DetectionPipeline, ImagePipeline):
        found: ImageInput = pipeline.image_input  # type: ignore[attr-defined]
        return found
    return None


def _own_pipeline(
    spec: PipelineSpec,
    module: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str],
    root: Path,
    limits: Limits,
) -> Pipeline:
    factory = adapted_class(load_class(module, root))
    try:
        pipeline = factory(spec, inputs, outputs, labels, limits)
    except EnginecrateError:  # a built-in part that it uses says itself what is wrong
        raise
    except Exception as exc:
        raise PipelineModuleInvalid(
            f"[pipeline] module = {module!r}: making the pipeline failed: "
            f"{own_traceback(exc, root)}; its constructor takes (spec, inputs, outputs, labels, "
            "limits)"
        ) from exc
    _check_interface(pipeline, module)
    checked: Pipeline = pipeline
    return checked


def _check_interface(pipeline: Any, module: str) -> None:
    lacks = [f"{name}()" for name in ("prepare", "finish") if not _is_method(pipeline, name)]
    if not isinstance(getattr(pipeline, "task", None), str):
        lacks.append('task (a text such as "detection")')
    if lacks:
        raise PipelineModuleInvalid(
            f"[pipeline] module = {module!r}: the class lacks {', '.join(lacks)}; a pipeline has "
            "task, prepare(payload) and finish(outputs, context): see enginecrate.Pipeline, or "
            "start from `enginecrate init --template custom`"
        )


def _is_method(pipeline: Any, name: str) -> bool:
    return callable(getattr(pipeline, name, None))
