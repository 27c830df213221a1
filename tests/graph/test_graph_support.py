"""Nodes that backends do not take are found by name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.graph.support.operators import CURES, UNSUPPORTED_OPERATORS
from enginecrate.graph.support.rules import BACKENDS, OPSETS, RULES
from enginecrate.graph.support.support import Obstacle, obstacles
from graph_tools import wrap
from tiny_models import constant, identity, model, relu, value, wordy_linear

X, Y = value("x", ["n", 3]), value("y", ["n", 3])
TENSORRT = {"tensorrt-8.6", "tensorrt-10", "tensorrt-11", "tensorrt_rtx"}


def scalar(name: str, number: object) -> TensorProto:
    tensor = constant(name, np.array(number))
    del tensor.dims[:]
    return tensor


def single(operator: str, *given: TensorProto, outputs: int = 1, opset: int = 17, **attributes):
    """One node, unchecked: x and constants in, y out."""
    names = ["y", *(f"y{place}" for place in range(1, outputs))]
    inputs = ["x", *(tensor.name for tensor in given)]
    node = helper.make_node(operator, inputs, names, "it", **attributes)
    return model([node], [X], [Y], given, opset=opset)


def found(proto: onnx.ModelProto, level: str = "refused") -> dict[str, Obstacle]:
    """The obstacles of a node, by backend."""
    wrapped = wrap(wordy_linear())
    object.__setattr__(wrapped, "proto", proto)
    return {one.backend: one for one in obstacles(wrapped) if one.level == level}


def test_a_plain_model_has_none():
    assert obstacles(wrap(wordy_linear())) == ()


def test_each_one_names_the_place_the_reason_and_the_cure():
    (one,) = found(single("NonZero")).values()
    assert one == Obstacle(
        "tensorrt_rtx",
        "refused",
        "NonZero",
        ("it",),
        "this operator is not supported",
        "export the model without its postprocessing: a decoder of the pipeline does this",
    )


@pytest.mark.parametrize(
    ("operator", "backends"),
    [
        ("Unique", TENSORRT),
        ("ConvInteger", TENSORRT),
        ("StringNormalizer", TENSORRT),
        ("SequenceConstruct", TENSORRT),
        ("Hardmax", {"tensorrt-8.6"}),
        ("NonMaxSuppression", {"tensorrt_rtx"}),
        ("ImageDecoder", TENSORRT | {"onnxruntime"}),
        ("LayerNormalization", set()),
        ("Conv", set()),
    ],
)
def test_operators(operator: str, backends: set[str]):
    assert set(found(single(operator))) == backends


ZERO, SEVEN = np.int8([0]), np.int8([7])
SCALE = constant("s", np.float32([0.1]))


@pytest.mark.parametrize(
    ("proto", "why"),
    [
        (single("QuantizeLinear", SCALE, constant("z", SEVEN)), "zero point"),
        (single("DequantizeLinear", SCALE, constant("z", np.uint8([128]))), "zero point"),
        (single("BatchNormalization", training_mode=1), "training mode"),
        (
            single("Dropout", scalar("r", np.float32(0.5)), scalar("t", True)),
            "training mode",
        ),
        (single("MaxPool", outputs=2, kernel_shape=[2, 2]), "indices"),
        (single("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), "dilated"),
        (single("Resize", coordinate_transformation_mode="tf_crop_and_resize"), "mode"),
        (single("Resize", antialias=1, opset=18), "antialiasing"),
        (single("Resize", keep_aspect_ratio_policy="not_larger", opset=18), "aspect ratio"),
        (single("ScatterND", reduction="add"), "reduction"),
        (single("TopK", constant("k", np.int64([4000]))), "3840"),
    ],
)
def test_what_tensorrt_refuses(proto: onnx.ModelProto, why: str):
    obstacle = found(proto)
    assert set(obstacle) == TENSORRT
    for one in obstacle.values():
        assert why in one.why
        assert one.nodes == ("it",)
        assert one.cure


@pytest.mark.parametrize(
    "proto",
    [
        single("QuantizeLinear", SCALE, constant("z", ZERO)),
        single("QuantizeLinear", SCALE),
        single("BatchNormalization"),
        single("Dropout", scalar("r", np.float32(0.5)), scalar("t", False)),
        single("MaxPool", kernel_shape=[2, 2], dilations=[1, 1]),
        single("Resize", coordinate_transformation_mode="asymmetric", mode="linear"),
        single("TopK", constant("k", np.int64([100]))),
        single("Squeeze", constant("axes", np.int64([0]))),
        single("ReduceSum", constant("axes", np.int64([0]))),
    ],
)
def test_what_tensorrt_takes(proto: onnx.ModelProto):
    assert not found(proto)
    assert not found(proto, "caution")


def test_axes_that_are_computed():
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], "sum")
    axes = value("axes", [1], TensorProto.INT64)
    assert set(found(model([node], [X, axes], [Y]))) == TENSORRT


@pytest.mark.parametrize(
    ("kind", "refused", "careful"),
    [
        (TensorProto.FLOAT, set(), set()),
        (TensorProto.INT16, TENSORRT, set()),
        (TensorProto.STRING, TENSORRT, set()),
        (TensorProto.DOUBLE, set(), TENSORRT),
        (TensorProto.INT64, set(), {"tensorrt-8.6"}),
        (TensorProto.BFLOAT16, {"tensorrt-8.6", "onnxruntime"}, set()),
        (TensorProto.COMPLEX64, TENSORRT | {"onnxruntime"}, set()),
        (TensorProto.INT32, set(), set()),
    ],
)
def test_datatypes(kind: int, refused: set[str], careful: set[str]):
    proto = identity(kind)
    assert set(found(proto)) == refused
    assert set(found(proto, "caution")) == careful


def test_bytes_may_come_in_but_not_be_computed_with():
    inner = [
        helper.make_node("Cast", ["x"], ["a"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Relu", ["a"], ["y"], "relu"),
    ]
    image = value("x", ["n", 3], TensorProto.UINT8)
    assert not found(model(inner, [image], [Y]))
    twice = helper.make_node("Max", ["x", "x"], ["y"], "max")
    proto = model([twice], [image], [value("y", ["n", 3], TensorProto.UINT8)])
    assert set(found(proto)) == TENSORRT
    assert found(proto)["tensorrt-10"].nodes == ("max",)
    assert "UINT8 is taken as an input" in found(proto)["tensorrt-10"].why


def test_opsets():
    assert set(found(relu(opset=8), "caution")) == TENSORRT
    assert set(found(relu(opset=17), "caution")) == set()
    assert set(found(relu(opset=19), "caution")) == {"tensorrt-8.6"}
    assert "opset 19 is newer than 17" in found(relu(opset=19), "caution")["tensorrt-8.6"].why


def test_more_dimensions_than_tensorrt_has():
    node = helper.make_node("Relu", ["x"], ["y"])
    proto = model([node], [value("x", [1] * 9)], [value("y", [1] * 9)])
    assert set(found(proto)) == TENSORRT


def test_operators_of_other_domains():
    node = helper.make_node("Special", ["x"], ["y"], "it", domain="com.example")
    obstacle = found(model([node], [X], [Y], domains=["com.example"]))
    assert set(obstacle) == TENSORRT | {"onnxruntime"}
    assert obstacle["onnxruntime"].operator == "com.example.Special"
    assert "plugin" in obstacle["tensorrt-10"].cure
    node = helper.make_node("Gelu", ["x"], ["y"], "it", domain="com.microsoft")
    assert set(found(model([node], [X], [Y], domains=["com.microsoft"]))) == TENSORRT


def test_functions_of_the_model():
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)]
    )
    proto = model(
        [helper.make_node("Twice", ["x"], ["y"], "it", domain="mine")], [X], [Y], domains=["mine"]
    )
    proto.functions.append(function)
    assert set(found(proto)) == {"tensorrt-8.6"}


def test_nodes_in_subgraphs_are_found():
    def branch(name: str):
        return helper.make_graph(
            [helper.make_node("Unique", ["x"], [name], f"in_{name}")], name, [], [value(name, [3])]
        )

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    obstacle = found(model([node], [X, value("c", [], TensorProto.BOOL)], [Y]))
    assert obstacle["tensorrt-10"].nodes == ("in_b", "in_a")  # onnx sorts the attributes


def test_the_data_name_real_operators_and_backends():
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    newer = {"BitCast", "CumProd", "SwiGLU"}  # of the newest onnx only
    named = {name for names in UNSUPPORTED_OPERATORS.values() for name in names}
    assert named - newer <= known
    assert set(CURES) <= named
    assert {name for rule in RULES for name in rule.operators} <= known
    assert set(UNSUPPORTED_OPERATORS) == set(OPSETS) == set(BACKENDS)
    assert all(rule.backends <= set(BACKENDS) for rule in RULES)
