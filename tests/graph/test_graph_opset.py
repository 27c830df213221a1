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
