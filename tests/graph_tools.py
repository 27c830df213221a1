"""Run ONNX graphs in tests, and wrap them as models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.specs import input_specs, output_specs
from enginecrate.values import Digest


def wrap(proto: onnx.ModelProto, source: str = "m.onnx") -> OnnxModel:
    """A checked model that was never on disk."""
    onnx.checker.check_model(proto, full_check=True)
    digest = Digest.of(proto.SerializeToString(deterministic=True))
    return OnnxModel(proto, Path(source), digest, input_specs(proto), output_specs(proto))


def execute(
    proto: onnx.ModelProto | str, feed: dict[str, np.ndarray], *, optimise: bool = False
) -> list[np.ndarray]:
    """The outputs in onnxruntime on the CPU. Types are checked in full when it loads."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    if not optimise:
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
    data = proto if isinstance(proto, str) else proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def named(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.name == name)
