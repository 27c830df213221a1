"""Batch normalisation and what is added disappear into the convolution before them."""

import numpy as np
import onnx
import pytest
from onnx import helper

from enginecrate.graph.rewrite.convolution_folding import fold_batch_normalisation, fold_bias
from enginecrate.graph.rewrite.simplify import simplify
from graph_tools import execute, operators, wrap
from tiny_models import constant, model, value

RNG = np.random.default_rng(3)


def weights(name: str, *shape: int) -> onnx.TensorProto:
    return constant(name, RNG.standard_normal(shape).astype(np.float32))


def statistics(channels: int, prefix: str = "bn") -> list[onnx.TensorProto]:
    return [
        constant(f"{prefix}_scale", RNG.uniform(0.5, 2, channels).astype(np.float32)),
        constant(f"{prefix}_shift", RNG.standard_normal(channels).astype(np.float32)),
        constant(f"{prefix}_mean", RNG.standard_normal(channels).astype(np.float32)),
        constant(f"{prefix}_variance", RNG.uniform(0.01, 3, channels).astype(np.float32)),
    ]


def pair(operator: str, shape: tuple[int, ...], channels: int, *, bias: bool, **attributes):
    """A convolution and its normalisation, as a model: x [2, 4, 6, 6]."""
    constants = [weights("w", *shape), *statistics(channels)]
    given = ["x", "w"]
    if bias:
        constants.append(weights("b", channels))
        given.append("b")
    nodes = [
        helper.make_node(operator, given, ["c"], "conv", **attributes),
        helper.make_node(
            "BatchNormalization", ["c", "bn_scale", "bn_shift", "bn_mean", "bn_variance"], ["y"],
            "bn", epsilon=1e-3,
        ),
    ]  # fmt: skip
    output = value("y", ["n", channels, None, None])
    return model(nodes, [value("x", ["n", 4, 6, 6])], [output], constants)


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """After the folding; it computes the same."""
    after = onnx.ModelProto.FromString(proto.SerializeToString())
    fold_batch_normalisation(after.graph)
    onnx.checker.check_model(after, full_check=True)
    feed = {"x": RNG.standard_normal((2, 4, 6, 6), dtype=np.float32)}
    for wanted, got in zip(execute(proto, feed), execute(after, feed), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    return after


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("operator", "shape", "channels", "attributes"),
    [
        ("Conv", (5, 4, 3, 3), 5, {}),
        ("Conv", (6, 2, 3, 3), 6, {"group": 2}),
        ("Conv", (4, 1, 3, 3), 4, {"group": 4}),
        ("ConvTranspose", (4, 5, 2, 2), 5, {}),
        ("ConvTranspose", (4, 3, 2, 2), 6, {"group": 2}),
    ],
)
def test_kinds_of_convolutions(operator, shape, channels, attributes, bias):
    after = folded(pair(operator, shape, channels, bias=bias, **attributes))
    assert operators(after) == [operator]
    assert len(after.graph.initializer) == 2
    assert after.graph.node[0].name == "conv"


def test_what_others_read_stays():
    proto = pair("Conv", (5, 4, 3, 3), 5, bias=False)
    proto.graph.output.append(value("c", ["n", 5, None, None]))
    assert operators(folded(proto)) == ["Conv", "BatchNormalization"]


def test_weights_of_two_convolutions_are_folded_apart():
    constants = [weights("w", 4, 4, 1, 1), *statistics(4), *statistics(4, "other")]
    norms = [
        [f"{prefix}_{name}" for name in ("scale", "shift", "mean", "variance")]
        for prefix in ("bn", "other")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *norms[0]], ["n"]),
        helper.make_node("Conv", ["n", "w"], ["d"]),
        helper.make_node("BatchNormalization", ["d", *norms[1]], ["y"]),
    ]
    image = value("x", ["n", 4, 6, 6])
    after = folded(model(nodes, [image], [value("y", ["n", 4, 6, 6])], constants))
    assert operators(after) == ["Conv", "Conv"]


def test_training_stays():
    proto = pair("Conv", (5, 4, 3, 3), 5, bias=False)
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    proto.graph.node[1].output.extend(["m", "v"])
    fold_batch_normalisation(proto.graph)
    assert operators(proto) == ["Conv", "BatchNormalization"]


def test_statistics_that_are_no_constants_stay():
    proto = pair("Conv", (5, 4, 3, 3), 5, bias=False)
    proto.graph.input.append(value("bn_mean_in", [5]))
    proto.graph.node[1].input[3] = "bn_mean_in"
    fold_batch_normalisation(proto.graph)
    assert operators(proto) == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize("dims", [[5, 4, 4], [3], []], ids=["each place", "too few", "one number"])
def test_statistics_of_another_shape_stay(dims: list[int]):
    """Opset 7 has `spatial = 0`: a number for each place."""
    proto = pair("Conv", (5, 4, 3, 3), 5, bias=False)
    for tensor in proto.graph.initializer:
        if tensor.name.startswith("bn_"):
            tensor.CopyFrom(constant(tensor.name, np.ones(dims, np.float32)))
    fold_batch_normalisation(proto.graph)
    assert operators(proto) == ["Conv", "BatchNormalization"]


def test_a_normalisation_without_a_convolution_stays():
    nodes = [
        helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node(
            "BatchNormalization", ["c", "bn_scale", "bn_shift", "bn_mean", "bn_variance"], ["y"]
        ),
    ]
    image, output = value("x", ["n", 4, 6, 6]), value("y", ["n", 4, 6, 6])
    after = folded(model(nodes, [image], [output], statistics(4)))
    assert operators(after) == ["Relu", "BatchNormalization"]


def test_simplify_folds_it():
    proto = pair("Conv", (5, 4, 3, 3), 5, bias=True)
    simplified = simplify(wrap(proto))
    assert simplified.before == {"BatchNormalization": 1, "Conv": 1}
    assert simplified.after == {"Conv": 1}
    feed = {"x": RNG.standard_normal((1, 4, 6, 6), dtype=np.float32)}
    (wanted,), (got,) = execute(proto, feed), execute(simplified.model.proto, feed)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def added(shape: tuple[int, ...], *, bias: bool = False, readers: int = 1) -> onnx.ModelProto:
    """A convolution with 5 output channels, and a constant of `shape` behind it."""
    given = ["x", "w", *(["b"] if bias else [])]
    nodes = [
        helper.make_node("Conv", given, ["c"], "conv"),
        helper.make_node("Add", ["k", "c"], ["y"], "add"),
    ]
    outputs = [value("y", [None] * max(4, len(shape)))]
    if readers > 1:
        nodes.append(helper.make_node("Relu", ["c"], ["z"]))
        outputs.append(value("z", [None] * 4))
    constants = [weights("w", 5, 4, 3, 3), weights("b", 5), weights("k", *shape)]
    return model(nodes, [value("x", ["n", 4, 6, 6])], outputs, constants)


def with_bias(proto: onnx.ModelProto) -> list[str]:
    """The operators after the folding; it computes the same."""
    after = onnx.ModelProto.FromString(proto.SerializeToString())
    fold_bias(after.graph)
    onnx.checker.check_model(after, full_check=True)
    feed = {"x": RNG.standard_normal((2, 4, 6, 6), dtype=np.float32)}
    for wanted, got in zip(execute(proto, feed), execute(after, feed), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    return operators(after)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (5, 1, 1), (), (1,), (1, 1, 1, 1)])
def test_what_is_added_to_each_channel_becomes_the_bias(shape: tuple[int, ...], bias: bool):
    assert with_bias(added(shape, bias=bias)) == ["Conv"]


@pytest.mark.parametrize("shape", [(4,), (5, 1, 4), (2, 5, 1, 1), (1, 1, 5, 1, 1), (4, 4)])
def test_what_is_added_elsewhere_stays(shape: tuple[int, ...]):
    assert with_bias(added(shape)) == ["Conv", "Add"]


def test_a_convolution_that_another_node_reads_gets_no_bias():
    assert with_bias(added((5, 1, 1), readers=2)) == ["Conv", "Add", "Relu"]


def test_a_bias_of_a_transposed_convolution_in_groups():
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["c"], "conv", group=2),
        helper.make_node("Add", ["c", "k"], ["y"], "add"),
    ]
    constants = [weights("w", 4, 3, 2, 2), weights("k", 6, 1, 1)]
    proto = model(nodes, [value("x", ["n", 4, 6, 6])], [value("y", [None] * 4)], constants)
    assert with_bias(proto) == ["ConvTranspose"]


def test_a_bias_does_not_hide_the_normalisation_behind_it():
    """Some exporters write each of the three as a node of its own."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Reshape", ["k", "shape"], ["k4"], "reshape"),
        helper.make_node("Add", ["c", "k4"], ["a"], "add"),
        helper.make_node(
            "BatchNormalization", ["a", "bn_scale", "bn_shift", "bn_mean", "bn_variance"], ["y"]
        ),
    ]
    shape = constant("shape", np.asarray([1, -1, 1, 1], np.int64))
    constants = [weights("w", 5, 4, 3, 3), weights("k", 5), shape, *statistics(5)]
    proto = model(nodes, [value("x", ["n", 4, 6, 6])], [value("y", [None] * 4)], constants)
    after = simplify(wrap(proto)).model.proto
    assert operators(after) == ["Conv"]
    feed = {"x": RNG.standard_normal((2, 4, 6, 6), dtype=np.float32)}
    (wanted,), (got,) = execute(proto, feed), execute(after, feed)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
