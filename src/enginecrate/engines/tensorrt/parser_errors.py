"""A refusal of TensorRT's in words: which node, why, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx

from enginecrate.engines.tensorrt.messages import plain
from enginecrate.engines.tensorrt.protocol import Refusal, RefusedNode
from enginecrate.errors import BackendUnavailable, EngineError, PlanBuildFailed
from enginecrate.graph.onnx.model import OnnxModel

__all__ = ["explain"]

_FP32_GEMM = re.compile(r"Cannot compile operation '([^']+)' for .*FP32 GEMM is not supported")
_OPERATION = re.compile(r"(?:operation|node|layer) '([^']+)'")
_NO_GPU = re.compile(r"CUDA_SUCCESS|cudaError|CUDA initialization failure|no CUDA-capable")
_TIMING = re.compile(r"timing cache", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory|insufficient memory", re.IGNORECASE)
_DATATYPE = re.compile(r"Cannot compile for target\(s\) [^,]*, because .*datatypes: (\w+)")
_NAMES = {"b16": "BF16", "fp8_e4m3": "FP8"}
_PRODUCTS = ("Gemm", "MatMul", "Einsum")
_FIRST = 3
_ELSEWHERE = "replace it in the model, or build for a stack of onnxruntime"


def explain(refusal: Refusal, model: OnnxModel, builder: str, device: str) -> EngineError:
    """The error to raise.

    Args:
        refusal: what the builder answered.
        model: that it was given.
        builder: name and version, for example `TensorRT-RTX 1.7.1.116`.
        device: that the plan was for.
    """
    if refusal.stage == "unavailable":
        return BackendUnavailable("; ".join(refusal.errors))
    if refusal.stage == "parse":
        return _parse(refusal, model, builder)
    if refusal.stage == "interface":
        return PlanBuildFailed(
            f"input {refusal.errors[0]!r} of {model.source} holds a shape, and {builder} needs the "
            "range of its values in advance; export the model with this shape as a constant"
        )
    if refusal.stage == "timing_cache":
        return _timing_miss(builder)
    return _build(refusal, model, builder, device)


def _parse(refusal: Refusal, model: OnnxModel, builder: str) -> PlanBuildFailed:
    if not refusal.nodes:
        said = _joined(refusal.errors)
        return PlanBuildFailed(f"{builder} cannot read {model.source}: {said}; {_ELSEWHERE}")
    rows = [_node(node, model.proto) for node in refusal.nodes]
    words = [_place(name, operator, refused) for name, operator, refused in rows]
    more = f" (and {len(words) - _FIRST} more)" if len(words) > _FIRST else ""
    return PlanBuildFailed(
        f"{builder} refuses {model.source}: {'; '.join(words[:_FIRST])}{more}; {_ELSEWHERE}",
        nodes=[name for name, _, _ in rows if name],
    )


def _node(refused: RefusedNode, proto: onnx.ModelProto) -> tuple[str, str, str]:
    """Name and operator of the node (from the graph where the parser gives its number), reason."""
    name, operator = refused.name, refused.operator
    if not operator and 0 <= refused.index < len(proto.graph.node):
        node = proto.graph.node[refused.index]
        name, operator = node.name, node.op_type
    return name, operator, _reason(refused.reason, operator)


def _place(name: str, operator: str, reason: str) -> str:
    if not operator:
        return reason
    return f"node {name!r} ({operator}): {reason}" if name else f"a node {operator}: {reason}"


def _reason(text: str, operator: str) -> str:
    """The parser's words, which are often a condition in C++, as a sentence."""
    if "lugin not found" in text or "plugin creator" in text or text in ("false", ""):
        return f"it does not know the operator {operator}"
    if "convertDtype" in text:
        return "it does not take the datatype of an input or output (see docs/tensorrt.md)"
    found = re.search(r'&& "([^"]+)"', text)
    return found[1].rstrip(".") if found else plain(text.removeprefix("Assertion failed: "))


def _build(refusal: Refusal, model: OnnxModel, builder: str, device: str) -> EngineError:
    text = "\n".join(refusal.errors)
    gemm = _FP32_GEMM.search(text)
    if gemm is not None:
        return _fp32_gemm(gemm[1], model, builder, device)
    datatype = _DATATYPE.search(text)
    if datatype is not None:
        return PlanBuildFailed(
            f"{builder} does not build for {device} with {_NAMES.get(datatype[1], datatype[1])}, "
            "which this GPU lacks; "
            "choose another precision for it (FP8 needs compute capability 8.9, BF16 8.0)"
        )
    said = _joined(refusal.errors)
    if _OUT_OF_MEMORY.search(text):
        cure = "free memory on the GPU, or lower build.workspace_mib in the manifest"
        return PlanBuildFailed(
            f"{builder} ran out of memory while it built for {device}: {said}; {cure}"
        )
    if _NO_GPU.search(text):
        cure = "build on a machine with the GPU and its driver, or without this option"
        return PlanBuildFailed(f"{builder} needs a GPU for this build: {said}; {cure}")
    if _TIMING.search(text):
        return _timing_miss(builder)
    known = {node.name for node in model.proto.graph.node}
    nodes = [name for name in _OPERATION.findall(text) if name in known]
    return PlanBuildFailed(
        f"{builder} cannot build {model.source} for {device}: {said}; change what it names, or "
        "build for a stack of onnxruntime",
        nodes=nodes,
    )


def _fp32_gemm(named: str, model: OnnxModel, builder: str, device: str) -> PlanBuildFailed:
    """TensorRT-RTX names the first matrix product only; all of them in FP32 would follow."""
    nodes = list(dict.fromkeys((named, *_fp32_products(model.proto))))
    listed = ", ".join(repr(name) for name in nodes[:_FIRST])
    more = f" and {len(nodes) - _FIRST} more" if len(nodes) > _FIRST else ""
    return PlanBuildFailed(
        f"{builder} has no FP32 matrix product for {device} (Turing), and the model needs it in "
        f"{listed}{more}; let these nodes run in FP16 (build does it by itself unless "
        "precision.allow_mixed forbids it), or build for a newer GPU",
        nodes=nodes,
        needs_fp16=True,
    )


def _fp32_products(proto: onnx.ModelProto) -> list[str]:
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    infos = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {info.name: info.type.tensor_type.elem_type for info in infos}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in _PRODUCTS
        and types.get(node.output[0], onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT
    ]


def _timing_miss(builder: str) -> PlanBuildFailed:
    return PlanBuildFailed(
        f"{builder} needs measurements that the timing cache does not hold, and this build must "
        "not make new ones; build once without the requirement and keep the new timing cache"
    )


def _joined(errors: Sequence[str]) -> str:
    """The builder's last line names the failure; earlier lines are its causes."""
    words = list(dict.fromkeys(plain(error) for error in errors))
    return "; ".join(words[-_FIRST:]) or "it gave no reason"
