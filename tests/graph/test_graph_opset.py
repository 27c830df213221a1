from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.rewrite.opset import at_least_opset
from enginecrate.graph.rewrite.simplify import simplify
from graph_tools import execute, wrap
from tiny_models import constant, model, relu, value

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("version", [7, 13, 17])
def test_new_enough_is_left_alone(version: int):
    net = wrap(relu(opset=17))
    assert at_least_opset(net, version) is net


@pytest.mark.parametrize(
    "path",
    ["classification/models/efficientnet-lite0-224.onnx", "detection/models/nanodet-g-416.onnx"],
)
@pytest.mark.parametrize("version", [19, 21])
def test_the_samples(path: str, version: int):
    net = simplify(read_model(SAMPLES / path)).model
    newer = at_least_opset(net, version)
    onnx.checker.check_model(newer.proto, full_check=True)
    assert newer.proto.opset_import[0].version == version
    assert (newer.inputs, newer.outputs) == (net.inputs, net.outputs)
    assert [node.name for node in newer.proto.graph.node] == [
        node.name for node in net.proto.graph.node
    ]
    image = np.random.default_rng(0).standard_normal((1, *net.inputs[0].shape[1:]))
    feed = {"input": image.astype(np.float32)}
    for wanted, got in zip(execute(net.proto, feed), execute(newer.proto, feed), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_inputs_become_what_the_new_opset_wants():
    """ReduceMean's axes are an attribute up to opset 17, and an input from 18."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "product"),
        helper.make_node("ReduceMean", ["a"], ["y"], "mean", axes=[1], keepdims=0),
    ]
    weight = constant("w", np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32))
    net = wrap(model(nodes, [value("x", ["n", 64])], [value("y", ["n"])], [weight]))
    newer = at_least_opset(net, 19)
    assert newer.proto.ir_version >= 9
    assert len(newer.proto.graph.initializer) == 2
    feed = {"x": np.ones((2, 64), np.float32)}
    (wanted,), (got,) = execute(net.proto, feed), execute(newer.proto, feed)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_other_domains_keep_their_version():
    node = helper.make_node("Special", ["x"], ["y"], domain="com.example")
    proto = model([node], [value("x", [1])], [value("y", [1])], domains=["com.example"])
    newer = at_least_opset(wrap(proto), 19)
    assert {one.domain: one.version for one in newer.proto.opset_import} == {
        "": 19, "com.example": 1,
    }  # fmt: skip


def test_an_operator_that_cannot_be_converted():
    """From opset 14 on, BatchNormalization has three outputs at most."""
    names = ["a", "b", "c", "d"]
    node = helper.make_node(
        "BatchNormalization", ["x", *names], ["y", "m", "v", "sm", "sv"], "norm"
    )
    image = value("x", [1, 3, 2, 2])
    inputs = [image, *(value(name, [3]) for name in names)]
    proto = model([node], inputs, [value("y", [1, 3, 2, 2])], opset=8, ir_version=4)
    with pytest.raises(ModelUnsupported, match=r"from opset 8 to 19.*export it with opset 19"):
        at_least_opset(wrap(proto), 19)


def test_an_operator_that_would_be_converted_wrongly():
    """From opset 9 on, Scan has no sequence lengths, and no batch."""
    nodes = [
        helper.make_node("Add", ["state", "part"], ["next"]),
        helper.make_node("Identity", ["next"], ["out"]),
    ]
    inner = [value(name, [2]) for name in ("state", "part", "next", "out")]
    body = helper.make_graph(nodes, "body", inner[:2], inner[2:])
    node = helper.make_node(
        "Scan", ["", "s", "x"], ["last", "y"], "scan", body=body, num_scan_inputs=1
    )
    inputs = [value("s", [1, 2]), value("x", [1, 5, 2])]
    outputs = [value("last", [1, 2]), value("y", [1, 5, 2])]
    net = wrap(model([node], inputs, outputs, opset=8, ir_version=3))
    with pytest.raises(ModelUnsupported, match=r"Scan 'scan' means something else from opset 9"):
        at_least_opset(net, 19)
    assert at_least_opset(net, 8) is net


def resized(operator: str, mode: str, scales: list[float], opset: int) -> onnx.ModelProto:
    node = helper.make_node(operator, ["x", "s"], ["y"], mode=mode)
    constants = [constant("s", np.array(scales, np.float32))]
    if opset < 9:
        node = helper.make_node(
            operator, ["x"], ["y"], mode=mode, scales=[float(one) for one in scales]
        )
        constants = []
    image, output = value("x", [1, 2, 12, 12]), value("y", [None] * 4)
    return model([node], [image], [output], constants, opset=opset, ir_version=5)


def assert_raised_is_the_same(proto: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    for version in (19, 21):
        newer = at_least_opset(wrap(proto), version)
        (wanted,), (got,) = execute(proto, feed), execute(newer.proto, feed)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "opset", "scales"),
    [
        ("Upsample", 7, [1, 1, 2, 2]),
        ("Upsample", 9, [1, 1, 2, 2]),
        ("Upsample", 9, [1, 1, 1.5, 1.25]),
        ("Resize", 10, [1, 1, 2, 2]),
        ("Resize", 10, [1, 1, 1.5, 1.25]),
        ("Resize", 10, [1, 1, 0.5, 0.5]),
        ("Resize", 10, [1, 1, 0.6, 0.7]),
    ],
)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_old_sizes_keep_their_coordinates(
    operator: str, opset: int, scales: list[float], mode: str
):
    """Until opset 10 they are asymmetric; the default of opset 11 is another."""
    feed = {"x": np.random.default_rng(4).standard_normal((1, 2, 12, 12)).astype(np.float32)}
    assert_raised_is_the_same(resized(operator, mode, scales, opset), feed)


def test_linear_sizes_may_grow_and_shrink():
    feed = {"x": np.random.default_rng(4).standard_normal((1, 2, 12, 12)).astype(np.float32)}
    assert_raised_is_the_same(resized("Resize", "linear", [1, 1, 2, 0.5], 10), feed)


def test_nearest_pixels_that_no_newer_opset_can_say():
    with pytest.raises(ModelUnsupported, match=r"the Resize that writes 'y'.*some sides grow"):
        at_least_opset(wrap(resized("Resize", "nearest", [1, 1, 2, 0.5], 10)), 19)


def test_nearest_pixels_of_scales_that_are_computed():
    nodes = [
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("Resize", ["x", "t"], ["y"]),
    ]
    inputs = [value("x", [1, 2, 12, 12]), value("s", [4])]
    proto = model(nodes, inputs, [value("y", [None] * 4)], opset=10, ir_version=5)
    with pytest.raises(ModelUnsupported, match="known at run time only"):
        at_least_opset(wrap(proto), 19)
    proto.graph.node[1].op_type = "Upsample"
    proto.opset_import[0].version = 9
    image = np.random.default_rng(4).standard_normal((1, 2, 12, 12)).astype(np.float32)
    scales = np.array([1, 1, 1.5, 2], np.float32)
    assert_raised_is_the_same(proto, {"x": image, "s": scales})


@pytest.mark.parametrize("sign", [1, -1], ids=["then", "else"])
def test_sizes_in_subgraphs_keep_their_coordinates(sign: int):
    def branch(name: str, mode: str) -> onnx.GraphProto:
        node = helper.make_node("Resize", ["x", "s"], [name], mode=mode)
        return helper.make_graph([node], name, [], [value(name, [1, 2, 18, 15])])

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["y"],
            then_branch=branch("t", "nearest"), else_branch=branch("e", "linear"),
        ),
    ]  # fmt: skip
    constants = [
        constant("s", np.array([1, 1, 1.5, 1.25], np.float32)),
        constant("zero", np.float32(0)),
    ]
    image, output = value("x", [1, 2, 12, 12]), value("y", [1, 2, 18, 15])
    proto = model(nodes, [image], [output], constants, opset=10, ir_version=5)
    photo = np.abs(np.random.default_rng(4).standard_normal((1, 2, 12, 12)))
    assert_raised_is_the_same(proto, {"x": (sign * photo).astype(np.float32)})


def test_hardmax_means_something_else_later():
    """Up to opset 12 it took everything from its axis on as one row."""
    node = helper.make_node("Hardmax", ["x"], ["y"], axis=1)
    borders = [value("x", [1, 4, 3, 3])], [value("y", [1, 4, 3, 3])]
    with pytest.raises(ModelUnsupported, match=r"Hardmax .* means something else from opset 13"):
        at_least_opset(wrap(model([node], *borders, opset=11)), 19)
