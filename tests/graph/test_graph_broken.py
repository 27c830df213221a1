"""Broken models: one sentence each, with the place and the cure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.errors import GraphError, ModelInvalid, ModelUnsupported
from enginecrate.graph.onnx.model import read_model
from tiny_models import constant, model, relu, save, value, wordy_linear

X, Y = value("x", ["n", 3]), value("y", ["n", 3])


def node(
    operator: str, source: list[str], target: list[str], name: str = "", **attributes: object
) -> onnx.NodeProto:
    return helper.make_node(operator, source, target, name, **attributes)


def graph(*nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    return model(nodes, [X], [Y], constants)


def branch(name: str, *nodes: onnx.NodeProto, output: str = "") -> onnx.GraphProto:
    return helper.make_graph(nodes, name, [], [value(output or nodes[-1].output[0], ["n", 3])])


def choice(then: onnx.GraphProto, other: onnx.GraphProto) -> onnx.ModelProto:
    flag = constant("c", np.array(True))
    del flag.dims[:]
    decision = node("If", ["c"], ["y"], "decide", then_branch=then, else_branch=other)
    return model([node("Relu", ["x"], ["a"]), decision], [X], [Y], [flag])


def listed_twice(field: str) -> onnx.ModelProto:
    proto = relu()
    infos = getattr(proto.graph, field)
    infos.append(infos[0])
    return proto


def edited(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = wordy_linear()
    change(proto)
    return proto


ELSE = branch("else", node("Neg", ["a"], ["e"]))

BROKEN: dict[str, tuple[onnx.ModelProto, str]] = {
    "circle of two": (
        graph(
            node("Add", ["x", "b"], ["a"], "one"), node("Relu", ["a"], ["b"], "two"),
            node("Neg", ["a"], ["y"], "three"),
        ),
        r"the graph has a circle: .*'one'.* -> .*'two'.*; a graph must run .* remove",
    ),
    "reads itself": (
        graph(node("Add", ["x", "y"], ["y"], "self")),
        r"the graph has a circle: Add 'self' -> Add 'self'",
    ),
    "nodes in the wrong order": (
        graph(node("Neg", ["a"], ["y"], "late"), node("Relu", ["x"], ["a"], "early")),
        r"not in the order .* Neg 'late' reads 'a', which Relu 'early' writes only later; sort",
    ),
    "two nodes write one tensor": (
        graph(node("Relu", ["x"], ["y"], "one"), node("Neg", ["x"], ["y"], "two")),
        r"two places in the graph write 'y', the second is Neg 'two'.*rename",
    ),
    "one node writes a tensor twice": (
        graph(node("Split", ["x"], ["y", "y"], "halves", axis=1, num_outputs=2)),
        r"two places in the graph write 'y', the second is Split 'halves'",
    ),
    "a node writes an input": (
        graph(node("Relu", ["x"], ["x"], "over"), node("Neg", ["x"], ["y"])),
        r"two places in the graph write 'x', the second is Relu 'over'",
    ),
    "a node writes a constant": (
        graph(
            node("Relu", ["x"], ["w"], "over"), node("Neg", ["w"], ["y"]),
            constants=(constant("w", np.ones(3, np.float32)),),
        ),
        r"two places in the graph write 'w', the second is Relu 'over'",
    ),
    "an unknown tensor": (
        graph(node("Add", ["x", "nothing"], ["y"], "sum")),
        r"Add 'sum' in the graph reads 'nothing', which is no input, no constant and no node's",
    ),
    "an unknown tensor, and no name": (
        graph(node("Add", ["x", "nothing"], ["y"])),
        r"the Add that writes 'y' in the graph reads 'nothing'",
    ),
    "two inputs with one name": (listed_twice("input"), r"has two inputs named 'x'; rename"),
    "two constants with one name": (
        edited(lambda proto: proto.graph.initializer.append(proto.graph.initializer[0])),
        r"has two constants named 'w_half'",
    ),
    "two outputs with one name": (listed_twice("output"), r"lists its output 'y' twice; remove"),
    "an output that nobody writes": (
        edited(lambda proto: proto.graph.node.pop()),
        r"no node writes the output 'y' of the graph; .* export it again",
    ),
    "a subgraph with an unknown tensor": (
        choice(branch("then", node("Add", ["a", "nothing"], ["t"], "inner")), ELSE),
        r"Add 'inner' in subgraph then_branch of If 'decide' reads 'nothing'",
    ),
    "a subgraph with a circle": (
        choice(
            branch("then", node("Relu", ["q"], ["p"], "p"), node("Neg", ["p"], ["q"], "q")), ELSE
        ),
        r"subgraph then_branch of If 'decide' has a circle: .*'p'.*->.*'q'",
    ),
    "a subgraph that writes a tensor of the graph around it": (
        choice(branch("then", node("Neg", ["x"], ["a"], "hide")), ELSE),
        r"Neg 'hide' in subgraph then_branch of If 'decide' writes 'a', and .* outside",
    ),
    "a subgraph without its output": (
        choice(branch("then", node("Neg", ["a"], ["t"]), output="lost"), ELSE),
        r"no node writes the output 'lost' of subgraph then_branch of If 'decide'",
    ),
    "an unknown operator": (
        graph(node("Reluu", ["x"], ["y"], "typo")),
        r"Reluu 'typo': ONNX has no such operator; did you mean 'Relu'\?; if it is",
    ),
    "an operator that is too new for the opset": (
        graph(node("Gelu", ["x"], ["y"], "new")),
        r"Gelu 'new' exists since opset 20, and the model says opset 17; export",
    ),
    "an unknown attribute": (
        graph(node("Relu", ["x"], ["y"], "odd", alpha=1.0)), r"Unrecognized attribute: alpha",
    ),
    "too few inputs": (graph(node("Add", ["x"], ["y"], "half")), r"input size 1 not in range"),
    "no opset": (
        edited(lambda proto: proto.ClearField("opset_import")), r"opset_import .*export it again",
    ),
    "a constant with too few numbers": (
        edited(lambda proto: setattr(proto.graph.initializer[0], "raw_data", b"1234")),
        r"'?w_half'?.*export it again",
    ),
    "no graph": (edited(lambda proto: proto.ClearField("graph")), r"holds no graph"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_graphs(kind: str, tmp_path: Path):
    proto, message = BROKEN[kind]
    path = save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelInvalid, match=message) as caught:
        read_model(path)
    assert_one_sentence(caught.value, path)


def assert_one_sentence(error: GraphError, path: Path) -> None:
    text = str(error)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert "Traceback" not in text


def test_equal_node_names_are_no_fault(tmp_path: Path):
    proto = graph(node("Relu", ["x"], ["a"], "same"), node("Neg", ["a"], ["y"], "same"))
    assert len(read_model(save(proto, tmp_path / "m.onnx")).proto.graph.node) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; export or copy"),
        (b"\x00" * 64, "is not an ONNX file"),
        (b"PK\x03\x04" + b"\x00" * 99, "is not an ONNX file"),
        (wordy_linear().SerializeToString()[:-20], "cut short after"),
    ],
    ids=["empty", "zeros", "zip", "cut"],
)
def test_broken_files(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelInvalid, match=message) as caught:
        read_model(path)
    assert_one_sentence(caught.value, path)


def test_opset_3(tmp_path: Path):
    path = save(relu(opset=3), tmp_path / "m.onnx")
    with pytest.raises(ModelUnsupported, match="opset 3; the oldest that runs is 7; export") as it:
        read_model(path)
    assert_one_sentence(it.value, path)


# External data


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(wordy_linear(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def point(path: Path, key: str, text: str) -> None:
    """Let the first tensor say something else about its place."""
    proto = onnx.load(path, load_external_data=False)
    entries = {one.key: one for one in proto.graph.initializer[0].external_data}
    if not text:
        proto.graph.initializer[0].external_data.remove(entries[key])
    else:
        entries[key].value = text
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("location", "gone.bin", "'w_half' are in 'gone.bin', which is not beside the model; copy"),
        ("location", "../w.bin", "'../w.bin', outside of the model's folder"),
        ("location", "/etc/passwd", "'/etc/passwd', outside of the model's folder"),
        ("location", "", "'w_half' does not say properly where its weights are"),
        ("offset", "-4", "'w_half' does not say properly where its weights are"),
        ("offset", "one", "'w_half' does not say properly where its weights are"),
        ("offset", "4096000", "'w_half' ends at byte 4,096,048 of 'w.bin', which has"),
        ("length", "44", r"'w_half' of shape \[3, 4\] needs 48 bytes, but 44 are stored"),
    ],
)
def test_external_data_at_a_wrong_place(external: Path, key: str, text: str, message: str):
    point(external, key, text)
    with pytest.raises(ModelInvalid, match=message) as caught:
        read_model(external)
    assert_one_sentence(caught.value, external)


def test_external_data_that_is_cut_short(external: Path):
    os.truncate(external.with_name("w.bin"), 40)
    with pytest.raises(
        ModelInvalid, match=r"'w_half' ends at byte 48 .* 40 bytes: it is cut short"
    ):
        read_model(external)


def test_external_data_behind_a_link_out_of_the_folder(external: Path, tmp_path: Path):
    inner = tmp_path / "inner"
    inner.mkdir()
    external.rename(inner / "m.onnx")
    (inner / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(ModelInvalid, match=r"a link out of the model's folder.*cp -L"):
        read_model(inner / "m.onnx")


def test_external_data_in_a_cache_of_links(external: Path, tmp_path: Path):
    """Model and weights are links into one folder, under names that say nothing."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, blob in (("m.onnx", "aaa"), ("w.bin", "bbb")):
        (tmp_path / name).rename(blobs / blob)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    opened = read_model(snapshot / "m.onnx")
    assert not opened.proto.graph.initializer[0].external_data
    assert len(opened.proto.graph.initializer[0].raw_data) == 48


def test_weights_of_a_linked_model_that_lie_elsewhere(external: Path, tmp_path: Path):
    blobs, snapshot, other = (tmp_path / name for name in ("blobs", "snapshot", "other"))
    for folder in (blobs, snapshot, other):
        folder.mkdir()
    external.rename(blobs / "aaa")
    (tmp_path / "w.bin").rename(other / "secret")
    (snapshot / "m.onnx").symlink_to(blobs / "aaa")
    (snapshot / "w.bin").symlink_to(other / "secret")
    with pytest.raises(ModelInvalid, match=r"a link out of the model's folder.*cp -L"):
        read_model(snapshot / "m.onnx")
