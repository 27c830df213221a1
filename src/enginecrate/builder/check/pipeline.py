"""The `[pipeline]` section against the model, its labels and the class of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from enginecrate.builder.check.fault import CheckFault, Key
from enginecrate.builder.project.project import label_notes, profile_faults
from enginecrate.errors import (
    EnginecrateError,
    LabelsInvalid,
    ModelUnsupported,
    PipelineInvalid,
)
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.onnx.signatures import opset_of
from enginecrate.manifest import Manifest
from enginecrate.pipelines.decoders.registry import DECODERS, unknown_decoder
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.stacks.catalog import load_stacks
from enginecrate.stacks.model_limits import model_refusal
from enginecrate.values import PipelineSpec

__all__ = ["decoder_faults", "effect_faults", "model_faults"]

_KEY = re.compile(r"\[pipeline\] (\w+)")
_NO_EFFECT = {
    "detection": ("decoder_options", "score_threshold", "iou_threshold", "class_agnostic",
                  "max_detections"),
    "classification": ("activation", "top_k"),
}  # fmt: skip
_NO_RESIZE = {
    "short_side": ("short_side_crop", "proportional"),
    "long_side": ("proportional",),
    "multiple": ("proportional",),
    "pad_value": ("letterbox",),
}


def effect_faults(manifest: Manifest) -> Iterator[CheckFault]:
    """Keys that the task, the resize or the method does not read."""
    spec = manifest.pipeline
    defaults = {field.name: field.default for field in msgspec.structs.fields(PipelineSpec)}
    if spec.module is None:
        for task, names in _NO_EFFECT.items():
            for name in names if spec.task != task else ():
                value = getattr(spec, name)
                if value and value != defaults[name]:
                    reason = f"has no effect on the task {spec.task!r}; leave it out"
                    yield CheckFault(("pipeline", name), reason, warning=True)
        for name, resizes in _NO_RESIZE.items():
            value = getattr(spec, name)
            if value is not None and value != defaults[name] and spec.resize not in resizes:
                reason = f"has no effect on resize = {spec.resize!r}; leave it out"
                yield CheckFault(("pipeline", name), reason, warning=True)
    calibration = manifest.precision.calibration
    if calibration and calibration.method != "percentile" and calibration.percentile != 99.99:
        reason = f"has no effect on method = {calibration.method!r}; leave it out"
        yield CheckFault(("precision", "calibration", "percentile"), reason, warning=True)


def decoder_faults(spec: PipelineSpec) -> Iterator[CheckFault]:
    """A decoder that does not exist, or that the task does not ask."""
    if spec.decoder is None or spec.module is not None:
        return
    key: Key = ("pipeline", "decoder")
    if spec.decoder not in DECODERS:
        yield CheckFault(key, unknown_decoder(spec.decoder), PipelineInvalid.code)
    elif spec.task != "detection":
        yield CheckFault(
            key, f"has no effect on the task {spec.task!r}; leave it out", warning=True
        )


def _runtime_faults(manifest: Manifest, model: OnnxModel) -> Iterator[CheckFault]:
    """Stacks whose onnxruntime is too old for the model; a warning where it is the last resort."""
    stacks = load_stacks()
    for index, name in enumerate(manifest.targets.stacks):
        if name not in stacks:
            continue
        stack = stacks[name]
        if refusal := model_refusal(stack, model.proto.ir_version, opset_of(model.proto)):
            yield CheckFault(
                ("targets", "stacks", index),
                refusal,
                ModelUnsupported.code,
                warning=stack.rungs[0].backend != "onnxruntime",
            )


def model_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[CheckFault]:
    """The model itself, its profiles, the labels, and the pipeline that is made of all of them."""
    try:
        model = read_model(root / manifest.model.path)
    except EnginecrateError as exc:
        yield CheckFault(("model", "path"), str(exc), exc.code)
        return
    yield from _runtime_faults(manifest, model)
    for _, message in profile_faults(manifest, model):
        yield CheckFault(("model", "profiles"), message)
    spec, key = manifest.pipeline, ("pipeline", "labels")
    labels: list[str] = []
    if spec.labels and key not in absent:
        try:
            labels = load_labels(root / spec.labels)
        except LabelsInvalid as exc:
            yield CheckFault(key, str(exc), exc.code)
    if labels or not spec.labels:
        try:
            for text in label_notes(spec, labels, model):
                yield CheckFault(key, text, warning=True)
        except LabelsInvalid as exc:
            yield CheckFault(key, str(exc), exc.code)
    if not any(one[:2] in (("pipeline", "module"), ("pipeline", "decoder")) for one in absent):
        yield from _pipeline_faults(spec, model, labels, root)


def _pipeline_faults(
    spec: PipelineSpec, model: OnnxModel, labels: Sequence[str], root: Path
) -> Iterator[CheckFault]:
    """Every fault of the section: what one key spoils gets its default, and is tried again.

    Labels are what pipelines check last: after them nothing is left. Where they cannot be read, a
    decoder may lack their number; that is no fault of its options.
    """
    unread = bool(spec.labels) and not labels
    last = ""
    for _ in range(len(spec.__struct_fields__)):
        error = _pipeline_error(spec, model, labels, root)
        if error is None or str(error) == last:
            return
        name = _key_of(error)
        changed = _mended(spec, name, str(error))
        again = changed and _pipeline_error(changed, model, labels, root)
        same = str(again) == str(error)
        if not (unread and same) and (name != "decoder" or spec.decoder in DECODERS):
            message = str(error).removeprefix(f"[pipeline] {name}").removeprefix(": ").lstrip()
            yield CheckFault(("pipeline", name) if name else ("pipeline",), message, error.code)
        if changed is None or same:
            return
        spec, last = changed, str(error)


def _pipeline_error(
    spec: PipelineSpec, model: OnnxModel, labels: Sequence[str], root: Path
) -> EnginecrateError | None:
    try:
        create_pipeline(spec, model.inputs, model.outputs, labels, root)
    except EnginecrateError as exc:
        return exc
    return None


def _mended(spec: PipelineSpec, name: str, message: str) -> PipelineSpec | None:
    """The section without the key that an error is about; `None` where nothing can replace it."""
    if name in ("", "task", "labels", "decoder", "module"):
        return None
    unknown = re.search(r"unknown key '([^']+)'", message)
    if name == "decoder_options" and unknown:
        options = {key: value for key, value in spec.decoder_options.items() if key != unknown[1]}
        return msgspec.structs.replace(spec, decoder_options=options)
    default = PipelineSpec(task=spec.task)
    names = ("mean", "std") if name in ("mean", "std") else (name,)
    return msgspec.structs.replace(spec, **{key: getattr(default, key) for key in names})


def _key_of(error: EnginecrateError) -> str:
    """The key of `[pipeline]` that an error is about; empty when it names none."""
    known = PipelineSpec.__struct_fields__
    names = [name for name in _KEY.findall(str(error)) if name in known]
    if names:
        return str(names[0])
    return "labels" if isinstance(error, LabelsInvalid) else ""
