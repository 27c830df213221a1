"""Small projects for the tests: their models are made here."""

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}


def tiny_model() -> onnx.ModelProto:
    """`double` = 2 x `FP32`; every other output `out_T` is the input `T`. All are [batch, 3]."""
    inputs = [helper.make_tensor_value_info(n, t, ["batch", 3]) for n, t in TYPES.items()]
    outputs = [helper.make_tensor_value_info(f"out_{n}", t, ["batch", 3]) for n, t in TYPES.items()]
    outputs.append(helper.make_tensor_value_info("double", TensorProto.FLOAT, ["batch", 3]))
    nodes = [helper.make_node("Identity", [name], [f"out_{name}"]) for name in TYPES]
    nodes.append(helper.make_node("Add", ["FP32", "FP32"], ["double"]))
    graph = helper.make_graph(nodes, "tiny", inputs, outputs)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def scale_model(factor: float = 2.0) -> onnx.ModelProto:
    """`y` = `factor` x `x`, [batch, 4]."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def write_project(
    folder: Path, model: onnx.ModelProto, *, pipeline: str = "", serve: str = ""
) -> Path:
    """A project of the task `tensors` around a model."""
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    (folder / "enginecrate.toml").write_text(
        f"""
        [app]
        name = "tiny"
        version = "1.2.3"
        [model]
        path = "model.onnx"
        [pipeline]
        task = "tensors"
        {pipeline}
        [serve]
        {serve}
        """
    )
    return folder


def write_tiny_project(folder: Path) -> Path:
    return write_project(folder, tiny_model())


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def write_golden(project: Path, payload: bytes, expected: dict) -> None:
    """One golden sample, in the file format that a user's project has."""
    folder = project / "golden"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "sample.npz").write_bytes(payload)
    sample = {"input": "sample.npz", "expected": expected}
    (folder / "golden.json").write_text(json.dumps({"format": 1, "samples": [sample]}))


GATED_PIPELINE = '''
import os
from pathlib import Path

from enginecrate.pipelines.tensors import TensorsPipeline

GATE = Path(__file__).with_name("gate")


class Pipeline(TensorsPipeline):
    """Waits in `prepare` while there is a gate, a named pipe, that somebody holds shut.

    Tensors that begin with 1, those of the tests, wait; the trial run before that does not.
    """

    def prepare(self, payload):
        prepared = super().prepare(payload)
        if prepared.tensors["x"][0, 0] == 1 and GATE.exists():
            with GATE.open("rb") as gate:
                gate.read()
        return prepared
'''


@dataclass
class Gate:
    """The other end of the named pipe in a gated project."""

    path: Path
    door: int | None = None

    def wait_for_request(self) -> None:
        """Wait until a request stands at the gate; it and all later ones are held there."""
        self.door = os.open(self.path, os.O_WRONLY)

    def open(self) -> None:
        """Let them pass, and all that come later."""
        self.path.unlink(missing_ok=True)
        if self.door is not None:
            os.close(self.door)
            self.door = None
