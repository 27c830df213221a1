"""What a graph's last and first operators tell, and what its metadata says."""

import numpy as np
import onnx
import pytest
from onnx import helper

from enginecrate.graph.describe.heads import output_heads
from enginecrate.graph.describe.metadata import read_metadata
from enginecrate.graph.describe.stem import input_stem
from tiny_models import constant, model, value


def chain(*steps: tuple[str, dict[str, object]]) -> onnx.ModelProto:
    """x through one operator after the other."""
    nodes, name = [], "x"
    for index, (operator, attributes) in enumerate(steps):
        nodes.append(helper.make_node(operator, [name], [f"t{index}"], **attributes))
        name = f"t{index}"
    return model(nodes, [value("x", [2, 3])], [value(name, None)])


SOFTMAX = ("Softmax", {"axis": 1})


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([SOFTMAX], "softmax"),
        ([SOFTMAX, ("Identity", {}), ("Cast", {"to": 10}), ("Transpose", {})], "softmax"),
        ([("LogSoftmax", {"axis": 1})], "log_softmax"),
        ([("LogSoftmax", {"axis": 1}), ("Exp", {})], "softmax"),
        ([("HardSigmoid", {}), ("Flatten", {})], "sigmoid"),
        ([("LpNormalization", {})], "unit_length"),
        ([("ArgMax", {})], "index"),
        ([("Tanh", {})], "tanh"),
        ([SOFTMAX, ("Relu", {})], "plain"),
        ([("Identity", {})], "plain"),
    ],
)
def test_kinds_of_heads(steps: list[tuple[str, dict[str, object]]], kind: str):
    (head,) = output_heads(chain(*steps)).values()
    assert head.kind == kind


def test_parts_of_different_kinds_are_plain_and_named():
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"]),
        helper.make_node("Tanh", ["x"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
    ]
    head = output_heads(model(nodes, [value("x", [2, 3])], [value("y", [2, 6])]))["y"]
    assert (head.kind, head.operators) == ("plain", ("Sigmoid", "Tanh"))


def test_a_long_chain_costs_little():
    proto = chain(*[("Identity", {})] * 50_000)
    assert output_heads(proto)["t49999"].operators == ("input",)


@pytest.mark.parametrize(
    ("steps", "scale", "shift"),
    [
        ([("Div", 255.0)], 1 / 255, 0),
        ([("Sub", 127.5), ("Mul", 1 / 127.5)], 1 / 127.5, -1),
        ([("Mul", 2.0), ("Sub", 1.0)], 2, -1),
        ([("Add", 1.0), ("Div", 2.0)], 0.5, 0.5),
    ],
)
def test_arithmetic_before_the_first_layer(
    steps: list[tuple[str, float]], scale: float, shift: float
):
    nodes, constants, name = [], [], "x"
    for index, (operator, number) in enumerate(steps):
        constants.append(constant(f"c{index}", np.array([number], np.float32)))
        nodes.append(helper.make_node(operator, [name, f"c{index}"], [f"t{index}"]))
        name = f"t{index}"
    constants.append(constant("w", np.ones((4, 3, 3, 3), np.float32)))
    nodes.append(helper.make_node("Transpose", [name], ["moved"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Conv", ["moved", "w"], ["y"]))
    proto = model(nodes, [value("x", [1, 8, 8, 3])], [value("y", [1, 4, 6, 6])], constants)
    stem = input_stem(proto, "x")
    assert (stem.first, stem.channels, stem.moved) == ("Conv", 3, True)
    assert stem.scale is not None
    assert stem.shift is not None
    assert np.allclose(stem.scale, scale)
    assert np.allclose(stem.shift, shift)


def described(**texts: str) -> onnx.ModelProto:
    proto = chain(("Identity", {}))
    helper.set_model_props(proto, texts)
    return proto


def test_metadata_of_ultralytics():
    found = read_metadata(
        described(
            author="Ultralytics",
            task="detect",
            stride="32",
            imgsz="[480, 640]",
            batch="1",
            names="{0: 'car', 1: \"driver's seat\", 2: 'Straße'}",
            args="{'nms': True, 'x': None}",
        )
    )
    assert found.writer == "Ultralytics"
    assert found.labels == ("car", "driver's seat", "Straße")
    assert (found.size, found.stride, found.task, found.end2end) == ((480, 640), 32, "detect", True)


@pytest.mark.parametrize(
    ("key", "text", "labels"),
    [
        ("names", "['a', 'b']", ("a", "b")),
        ("names", '{"0": "a", "1": "b"}', ("a", "b")),
        ("id2label", '{"1": "b", "0": "a"}', ("a", "b")),
        ("classes", "a, b", ("a", "b")),
        ("classes", "a\nb\n", ("a", "b")),
        ("names", "{0: 'a', 2: 'b'}", ()),
        ("names", "{0: 'a', 1: ''}", ()),
        ("names", "{0: 'a\x1b[31m', 1: 'b'}", ("a [31m", "b")),
        ("names", "[x for x in 'ab']", ()),
        ("names", "__import__('os').abort()", ()),
        ("names", "[" * 100_000, ()),
        ("names", "{0: " * 100_000, ()),
        ("names", "['a', 'b'", ()),
        ("names", "9" * 100_000, ()),
        ("names", "'" + "\\" * 100_001, ()),
    ],
)
def test_class_names_are_read_and_never_run(key: str, text: str, labels: tuple[str, ...]):
    assert read_metadata(described(**{key: text})).labels == labels


def test_characters_of_a_recogniser():
    found = read_metadata(described(character="a\nb\n \n"))
    assert (found.writer, found.characters) == ("PaddleOCR", ("a", "b", " "))


@pytest.mark.parametrize(
    ("text", "size"),
    [("640", (640, 640)), ("[1, 3, 48, 320]", (48, 320)), ("(224, 192, 3)", (224, 192)),
     ("[0, 0]", None), ("'large'", None), ("[1e9, 2]", None)],
)  # fmt: skip
def test_sizes(text: str, size: tuple[int, int] | None):
    assert read_metadata(described(input_size=text)).size == size
