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
