"""Weights beside the model: written, read, digested; more of them than protobuf can hold."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from enginecrate.errors import ModelInvalid
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.describe.cost import layer_costs
from enginecrate.graph.describe.inspection import inspect_model
from enginecrate.graph.onnx import model as reading
from enginecrate.graph.onnx.model import graph_digest, read_model
from enginecrate.graph.onnx.writer import write_model
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.values import Precision
from graph_tools import execute
from tiny_models import constant, model, value, wordy_linear

FEED = {"x": np.random.default_rng(0).standard_normal((2, 300), dtype=np.float32)}


def linear() -> onnx.ModelProto:
    """y = x @ w1 @ w2 + b: two large weights and a small one."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w2"], ["c"], "second"),
        helper.make_node("Add", ["c", "b"], ["y"], "bias"),
    ]
    constants = [
        constant("w1", rng.standard_normal((300, 20), dtype=np.float32) / 20),
        constant("w2", rng.standard_normal((20, 400), dtype=np.float32) / 20),
        constant("b", rng.standard_normal(4, dtype=np.float32).repeat(100)),
    ]
    return model(nodes, [value("x", ["n", 300])], [value("y", ["n", 400])], constants)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    path = tmp_path / "given" / "m.onnx"
    path.parent.mkdir()
    onnx.save(linear(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


@pytest.fixture
def on_disk(beside: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, read as if it were more than protobuf can hold."""
    monkeypatch.setattr(reading, "LARGEST_PROTO", reading.ROOM)
    return beside


def test_weights_are_read_when_they_fit(beside: Path):
    read = read_model(beside)
    assert read.weights is None
    assert not any(tensor.external_data for tensor in read.proto.graph.initializer)


def test_weights_stay_on_disk_when_they_do_not_fit(on_disk: Path):
    read = read_model(on_disk)
    assert read.weights == on_disk.parent
    assert all(tensor.external_data for tensor in read.proto.graph.initializer)
    assert [spec.shape for spec in (*read.inputs, *read.outputs)] == [(-1, 300), (-1, 400)]
    assert inspect_model(read).parameters == 300 * 20 + 20 * 400 + 400
    assert [cost.macs for cost in layer_costs(read)] == [300 * 20, 20 * 400]


def test_the_digest_covers_weights_but_not_their_place(on_disk: Path, tmp_path: Path):
    first = graph_digest(read_model(on_disk))
    other = tmp_path / "other"
    other.mkdir()
    onnx.save(
        linear(), other / "n.onnx", save_as_external_data=True, all_tensors_to_one_file=False,
        size_threshold=0,
    )  # fmt: skip
    assert graph_digest(read_model(other / "n.onnx")) == first
    data = bytearray(on_disk.with_name("w.bin").read_bytes())
    data[-1] ^= 1
    on_disk.with_name("w.bin").write_bytes(data)
    assert graph_digest(read_model(on_disk)) != first


def test_weights_that_vanish_after_reading(on_disk: Path):
    read = read_model(on_disk)
    on_disk.with_name("w.bin").write_bytes(b"short")
    with pytest.raises(ModelInvalid, match=r"became shorter while it was read.*'w1'.*copy"):
        graph_digest(read)


def test_simplify_says_that_it_did_less(on_disk: Path):
    simplified = simplify(read_model(on_disk))
    assert "more than protobuf can hold, so constants were not folded" in simplified.note
    assert simplified.after == {"Add": 1, "MatMul": 2}
    assert simplified.model.weights == on_disk.parent


@pytest.mark.parametrize("large", [False, True])
def test_writing_and_reading_gives_the_same_model(
    large: bool, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if large:
        monkeypatch.setattr(reading, "LARGEST_PROTO", reading.ROOM)
    read = read_model(beside)
    folder = tmp_path / "out"
    folder.mkdir()
    path = write_model(read, folder)
    assert sorted(file.name for file in folder.iterdir()) == ["graph.onnx", "graph.weights"]
    again = read_model(path)
    assert graph_digest(again) == graph_digest(read)
    assert (again.inputs, again.outputs) == (read.inputs, read.outputs)
    (wanted,), (got,) = execute(linear(), FEED), execute(str(path), FEED)
    np.testing.assert_array_equal(got, wanted)
    assert read.proto.graph.initializer[0].external_data == (
        read_model(beside).proto.graph.initializer[0].external_data
    )


def test_writing_twice_gives_the_same_bytes(beside: Path, tmp_path: Path):
    written = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_model(read_model(beside), folder)
        written.append([(file.name, file.read_bytes()) for file in sorted(folder.iterdir())])
    assert written[0] == written[1]


def test_small_constants_stay_in_the_graph(tmp_path: Path):
    onnx.save(wordy_linear(), tmp_path / "m.onnx")
    (tmp_path / "out").mkdir()
    path = write_model(read_model(tmp_path / "m.onnx"), tmp_path / "out")
    proto = onnx.load(path, load_external_data=False)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    assert (tmp_path / "out" / "graph.weights").read_bytes() == b""


def test_onnxruntime_takes_the_graph_from_memory_and_the_weights_from_disk(on_disk: Path):
    """The use that a backend makes of `OnnxModel.weights`."""
    read = simplify(read_model(on_disk)).model
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(read.weights)
    )
    session = onnxruntime.InferenceSession(
        read.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    np.testing.assert_allclose(session.run(None, FEED)[0], execute(linear(), FEED)[0], atol=1e-5)


def test_casting_reads_the_weights_one_by_one(on_disk: Path, tmp_path: Path):
    graph = cast(simplify(read_model(on_disk)).model, Precision.FP16, keep=["second"])
    assert [layer.precision for layer in graph.layers] == ["fp16", "fp32"]
    constants = {tensor.name: tensor for tensor in graph.model.proto.graph.initializer}
    assert constants["w1_fp16"].data_type == TensorProto.FLOAT16
    assert constants["w2"].external_data
    (tmp_path / "out").mkdir()
    path = write_model(graph.model, tmp_path / "out")
    np.testing.assert_allclose(execute(str(path), FEED)[0], execute(linear(), FEED)[0], atol=2e-3)


@pytest.mark.full
def test_three_gigabytes(tmp_path: Path):
    """Zeros in a sparse file: nothing is read into memory but a few MiB at a time."""
    rows, columns, count = 16384, 16384, 3
    names = [f"w{place}" for place in range(count)]
    tensors = []
    for place, name in enumerate(names):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[rows, columns])
        tensor.data_location = TensorProto.EXTERNAL
        size = rows * columns * 4
        for key, text in (("location", "w.bin"), ("offset", place * size), ("length", size)):
            tensor.external_data.add(key=key, value=str(text))
        tensors.append(tensor)
    flow = ["x", "a", "b", "y"]
    nodes = [
        helper.make_node("MatMul", [before, name], [after], f"product{name}")
        for before, name, after in zip(flow, names, flow[1:], strict=False)
    ]
    shape = ["n", rows]
    proto = model(nodes, [value("x", shape)], [value("y", shape)], tensors)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(count * rows * columns * 4)
    tracemalloc.start()
    read = read_model(path)
    simplified = simplify(read)
    digest = graph_digest(simplified.model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
    assert read.weights == tmp_path
    assert read.source_bytes > 3 * 2**30
    assert "more than protobuf can hold" in simplified.note
    assert digest == graph_digest(read)
    assert inspect_model(read).parameters == count * rows * columns
    assert sum(cost.macs for cost in layer_costs(read)) == count * rows * columns
