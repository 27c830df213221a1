"""A tiny app that takes tensors: it doubles them."""

import subprocess
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from running import PROGRAM


def tensors_project(folder: Path) -> Path:
    shape = ["batch", 3]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])],
        "doubler",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array([2.0], np.float32), "two")],
    )
    opset = helper.make_opsetid("", 17)
    model = folder.with_suffix(".onnx")
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), model)
    command = [PROGRAM, "init", folder, "--model", model, "--task", "tensors"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def image_project(folder: Path) -> Path:
    """A tiny app that takes photos and answers tensors: means of channels times a constant."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["photo"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Mul", ["flat", "factor"], ["means"]),
            helper.make_node("AveragePool", ["photo"], ["small"], kernel_shape=[2, 2],
                             strides=[2, 2]),
        ],
        "means",
        [
            helper.make_tensor_value_info("photo", TensorProto.FLOAT, ["batch", 3, 32, 48]),
            helper.make_tensor_value_info("factor", TensorProto.FLOAT, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info("means", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("small", TensorProto.FLOAT, ["batch", 3, 16, 24]),
        ],
    )  # fmt: skip
    opset = helper.make_opsetid("", 17)
    (folder / "models").mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[opset], ir_version=8),
        folder / "models" / "means.onnx",
    )
    (folder / "enginecrate.toml").write_text(
        """\
[app]
name = "means"
version = "1.0.0"

[model]
path = "models/means.onnx"

[pipeline]
task = "image"
resize = "letterbox"
constants = { factor = 2.0 }
""",
        encoding="utf-8",
    )
    return folder
