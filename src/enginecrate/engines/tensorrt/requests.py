"""Check what is asked for before a builder is started."""

from __future__ import annotations

import onnx

from enginecrate.engines.base import BuildOptions
from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.errors import PlanBuildFailed
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.walk import model_tensors
from enginecrate.values import ComputeCapability, DataType

__all__ = ["check_interface", "check_options", "element_types"]

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_AMPERE = ComputeCapability(8, 0)
# TensorRT documentation, "Data Types": what a network's inputs and outputs can be. The parsers
# read DOUBLE as FP32 and, in 8.6, INT64 as INT32: the plan would not keep the model's interface.
_BOTH = {DataType.FP32, DataType.FP16, DataType.INT32, DataType.INT8, DataType.UINT8, DataType.BOOL}
_SINCE_10 = {DataType.BF16, DataType.INT64}


def check_options(
    library: Library, options: BuildOptions, model: OnnxModel, *, on_gpu: bool
) -> None:
    """Refuse what this version cannot do. Raises `PlanBuildFailed`, which names the setting."""
    title, can = f"{_TITLES[library.name]} {library.version}", library.can
    if options.version_compatible and not can.version_compatible:
        raise PlanBuildFailed(
            f"{title} has no version-compatible plans; set build.version_compatible = false, and "
            "build again after an upgrade"
        )
    level = options.hardware_compatibility
    if level != "none" and level not in can.hardware_levels:
        offered = ", ".join(can.hardware_levels) or "none of them"
        raise PlanBuildFailed(
            f"{title} does not offer the hardware compatibility {level!r}, but {offered}; set "
            'build.hardware_compatibility = "none", and name every GPU in targets.gpus'
        )
    _check_level(library, options, title)
    if options.strip_weights:
        _check_strip(library, options, model, title, on_gpu=on_gpu)
    if can.targets and not hasattr(library.only_rtx.ComputeCapability, options.device.upper()):
        kinds = [name.lower() for name in library.only_rtx.ComputeCapability.__members__]
        known = ", ".join(sorted((name for name in kinds if name.startswith("sm")), key=_number))
        raise PlanBuildFailed(
            f"{title} does not build for {options.device}, but for {known}; correct targets.gpus "
            "in the manifest, or use a stack of TensorRT for this GPU"
        )


def check_interface(model: OnnxModel, library: Library) -> None:
    """Refuse datatypes of inputs and outputs that would not stay as they are.

    Raises:
        PlanBuildFailed: the message names the tensor and what to export in its place.
    """
    modern = not library.can.precision_flags
    taken = _BOTH | _SINCE_10 if modern else _BOTH
    instead = {DataType.FP64: "FP32", DataType.INT64: "INT32", DataType.BF16: "FP32"}
    for role, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            if spec.datatype not in taken:
                better = instead.get(spec.datatype, "FP32, FP16, INT32, INT8, UINT8 or BOOL")
                raise PlanBuildFailed(
                    f"{role} {spec.name!r} of {model.source} is {spec.datatype}, which "
                    f"{_TITLES[library.name]} {library.version} does not take or give; export the "
                    f"model with {better} there, or build for a stack of onnxruntime"
                )


def element_types(model: OnnxModel) -> tuple[str, ...]:
    """ONNX names of the element types in the graph, sorted: of weights, casts and tensors."""
    graph = model.proto.graph
    kinds = {tensor.data_type for tensor in model_tensors(model.proto)}
    for info in (*graph.input, *graph.output, *graph.value_info):
        kinds.add(info.type.tensor_type.elem_type)
    for node in graph.node:
        kinds.update(entry.i for entry in node.attribute if entry.name in ("to", "output_dtype"))
    names = onnx.TensorProto.DataType
    return tuple(sorted(names.Name(kind) for kind in kinds if kind in names.values() and kind))


def _check_strip(
    library: Library, options: BuildOptions, model: OnnxModel, title: str, *, on_gpu: bool
) -> None:
    if not library.can.strip_plan:
        raise PlanBuildFailed(
            f"{title} cannot leave the weights out of a plan; set build.strip_weights = false"
        )
    if library.can.strip_needs_gpu and not on_gpu:
        raise PlanBuildFailed(
            f"{title} leaves the weights out of a plan only on a machine with a GPU "
            f"{options.device}; build there, or set build.strip_weights = false"
        )
    if model.weights is not None:
        raise PlanBuildFailed(
            f"the weights of {model.source} are too large for one ONNX file, and a plan without "
            "weights needs them in one; set build.strip_weights = false"
        )


def _check_level(library: Library, options: BuildOptions, title: str) -> None:
    if options.hardware_compatibility == "none":
        return
    name = options.hardware_compatibility.upper()
    if not hasattr(library.api.HardwareCompatibilityLevel, name):
        raise PlanBuildFailed(
            f"{title} does not offer the hardware compatibility "
            f"{options.hardware_compatibility!r} yet; install a newer TensorRT 10, or set "
            'build.hardware_compatibility = "none"'
        )
    capability = ComputeCapability.parse(options.device)
    if options.hardware_compatibility == "ampere_plus" and capability < _AMPERE:
        raise PlanBuildFailed(
            f"hardware compatibility ampere_plus begins with compute capability 8.0, and the "
            f"target is {options.device}; leave this GPU out of targets.gpus, or set "
            'build.hardware_compatibility = "none"'
        )


def _number(name: str) -> int:
    return int(name[2:])
