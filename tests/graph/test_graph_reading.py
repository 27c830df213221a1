import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from enginecrate.graph.onnx.model import read_model
from enginecrate.values import DataType, Digest, TensorSpec
from tiny_models import constant, model, relu, save, value, wordy_linear


def test_a_model_with_a_symbolic_batch(tmp_path: Path):
    path = save(wordy_linear(), tmp_path / "m.onnx")
    read = read_model(path)
    assert read.inputs == (TensorSpec("x", DataType.FP32, (-1, 3)),)
    assert read.outputs == (TensorSpec("y", DataType.FP32, (-1, 4)),)
    assert read.source_digest == Digest.of_file(path)
    assert read.source_bytes == path.stat().st_size


def test_dimensions_without_name_or_size_are_dynamic(tmp_path: Path):
    proto = relu()
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    for dim in (None, "any", -1, 0, 7):
        added = proto.graph.input[0].type.tensor_type.shape.dim.add()
        if isinstance(dim, str):
            added.dim_param = dim
        elif dim is not None:
            added.dim_value = dim
    read = read_model(save(proto, tmp_path / "m.onnx"))
    assert read.inputs[0].shape == (-1, -1, -1, 0, 7)


def test_constants_that_are_listed_as_inputs_are_no_inputs(tmp_path: Path):
    proto = wordy_linear()
    proto.graph.input.append(value("w_half", [3, 4]))
    proto.graph.input.append(value("b", [4]))
    assert [spec.name for spec in read_model(save(proto, tmp_path / "m.onnx")).inputs] == ["x"]


@pytest.mark.parametrize(
    ("kind", "datatype"),
    [
        (TensorProto.BOOL, "BOOL"),
        (TensorProto.UINT8, "UINT8"),
        (TensorProto.INT64, "INT64"),
        (TensorProto.FLOAT16, "FP16"),
        (TensorProto.BFLOAT16, "BF16"),
        (TensorProto.DOUBLE, "FP64"),
        (TensorProto.STRING, "BYTES"),
    ],
)
def test_datatypes(tmp_path: Path, kind: int, datatype: str):
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = model([node], [value("x", [1], kind)], [value("y", [1], kind)])
    assert read_model(save(proto, tmp_path / "m.onnx")).inputs[0].datatype == datatype


def test_no_file(tmp_path: Path):
    with pytest.raises(ModelNotFound, match=r"no model file .*missing.onnx.*model.path"):
        read_model(tmp_path / "missing.onnx")


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="Is a directory"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; export or copy"),
        (b"this is no model\n", "is not an ONNX file .*export the model"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "git lfs pull"),
        (wordy_linear().SerializeToString()[:150], "cut short after 150 bytes; copy"),
        (b"\x08\x09", "holds no graph"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value)


def test_opsets_too_old_and_too_new(tmp_path: Path):
    read_model(save(relu(opset=7), tmp_path / "oldest.onnx"))
    with pytest.raises(ModelUnsupported, match=r"opset 6; the oldest that runs is 7; export"):
        read_model(save(relu(opset=6), tmp_path / "old.onnx"))
    with pytest.raises(ModelUnsupported, match=r"opset 999; the newest that is known is \d+"):
        read_model(save(relu(opset=999), tmp_path / "new.onnx"))
    with pytest.raises(ModelUnsupported, match=r"IR version 999"):
        read_model(save(relu(ir_version=999), tmp_path / "ir.onnx"))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            helper.make_node("Nope", ["x"], ["y"], "culprit"),
            "Nope 'culprit': ONNX has no such operator",
        ),
        (
            helper.make_node("Relu", ["elsewhere"], ["y"]),
            "the Relu that writes 'y' in the graph reads 'elsewhere'",
        ),
    ],
)
def test_what_the_checker_refuses(tmp_path: Path, node: onnx.NodeProto, message: str):
    proto = model([node], [value("x", [1])], [value("y", [1])])
    with pytest.raises(ModelInvalid, match=message):
        read_model(save(proto, tmp_path / "m.onnx"))


def test_operators_of_a_foreign_domain_are_left_to_the_backend(tmp_path: Path):
    node = helper.make_node("Anything", ["x"], ["y"], domain="com.example")
    proto = model([node], [value("x", [1])], [value("y", [1])], domains=["com.example"])
    assert read_model(save(proto, tmp_path / "m.onnx")).inputs[0].name == "x"


def test_inputs_that_are_no_tensors(tmp_path: Path):
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceLength", ["x"], ["y"])
    proto = model([node], [sequence], [value("y", [], TensorProto.INT64)])
    with pytest.raises(ModelUnsupported, match=r"m.onnx: input 'x' is a sequence"):
        read_model(save(proto, tmp_path / "m.onnx"))


def test_an_output_without_a_rank(tmp_path: Path):
    proto = relu()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelUnsupported, match=r"output 'y' has no shape.*infer_shapes"):
        read_model(save(proto, tmp_path / "m.onnx"))


def test_an_input_that_no_client_can_send(tmp_path: Path):
    kind = TensorProto.COMPLEX64
    node = helper.make_node("Identity", ["x"], ["y"])
    proto = model([node], [value("x", [1], kind)], [value("y", [1], kind)])
    with pytest.raises(ModelUnsupported, match="COMPLEX64"):
        read_model(save(proto, tmp_path / "m.onnx"))


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights lie in a file beside it."""
    path = tmp_path / "m.onnx"
    onnx.save(wordy_linear(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def test_external_data_is_read_and_part_of_the_digest(external: Path):
    first = read_model(external)
    weights = external.with_name("w.bin")
    assert first.source_bytes == external.stat().st_size + weights.stat().st_size
    assert first.proto.graph.initializer[0].raw_data
    data = bytearray(weights.read_bytes())
    data[0] ^= 1
    weights.write_bytes(data)
    assert read_model(external).source_digest != first.source_digest


def test_external_data_is_missing(external: Path):
    external.with_name("w.bin").unlink()
    with pytest.raises(ModelInvalid, match=r"tensor 'w_half' are in 'w.bin'.*not beside the model"):
        read_model(external)


def test_external_data_is_cut_short(external: Path):
    os.truncate(external.with_name("w.bin"), 10)
    with pytest.raises(ModelInvalid, match="external data cannot be read"):
        read_model(external)


def test_external_data_outside_of_the_models_folder(external: Path, tmp_path: Path):
    inner = tmp_path / "inner"
    inner.mkdir()
    proto = onnx.load(external, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    with pytest.raises(ModelInvalid, match="external data cannot be read"):
        read_model(save(proto, inner / "m.onnx"))


def test_more_than_protobuf_can_hold(tmp_path: Path):
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: takes no room
    with pytest.raises(ModelUnsupported, match=r"2,147,483,648 bytes.*external data"):
        read_model(path)


def test_scalars_and_many_inputs(tmp_path: Path):
    node = helper.make_node("Add", ["a", "b"], ["c"])
    bias = constant("unused", np.zeros(1, np.float32))
    proto = model([node], [value("a", []), value("b", ["n"])], [value("c", ["n"])], [bias])
    read = read_model(save(proto, tmp_path / "m.onnx"))
    assert [spec.shape for spec in read.inputs] == [(), (-1,)]
