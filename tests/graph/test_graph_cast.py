import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from enginecrate.errors import ModelUnsupported
from enginecrate.graph.cast.cast import cast, cast_nodes
from enginecrate.graph.cast.overflow import overflowing
from enginecrate.graph.describe.layers import layers_of
from enginecrate.graph.onnx.model import OnnxModel, graph_digest, read_model
from enginecrate.graph.onnx.shapes import tensor_types
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.graph.typed import TypedGraph, precision_of, share_of
from enginecrate.values import Precision
from graph_tools import execute, named, operators, wrap
from tiny_models import constant, model, value

SAMPLES = Path(__file__).parents[2] / "samples"
RNG = np.random.default_rng(7)


def weight(name: str, *shape: int, scale: float = 0.2) -> TensorProto:
    return constant(name, (RNG.standard_normal(shape) * scale).astype(np.float32))


def tiny_net() -> OnnxModel:
    """Conv, Relu, Conv with a shortcut, mean, matrix product, softmax."""
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["sum"], "shortcut"),
        helper.make_node("GlobalAveragePool", ["sum"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "w3"], ["logits"], "product"),
        helper.make_node("Softmax", ["logits"], ["scores"], "softmax"),
    ]
    constants = [
        weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("b2", 8), weight("w3", 8, 5),
    ]  # fmt: skip
    outputs = [value("scores", ["n", 5]), value("r1", ["n", 8, 6, 6])]
    return wrap(model(nodes, [value("image", ["n", 3, 6, 6])], outputs, constants))


def elementwise(operator: str, *given: TensorProto, **attributes) -> OnnxModel:
    """One node of this operator between two matrix products."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "before"),
        helper.make_node(operator, ["a", *(one.name for one in given)], ["b"], "it", **attributes),
        helper.make_node("MatMul", ["b", "w"], ["y"], "after"),
    ]
    constants = [weight("w", 4, 4), *given]
    return wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], constants))


def kinds(graph: TypedGraph) -> dict[str, int]:
    return {name: one.kind for name, one in tensor_types(graph.model.proto).items()}


def computes_in(graph: TypedGraph, name: str) -> int:
    """The type of a node's first input."""
    return kinds(graph)[named(graph.model.proto, name).input[0]]


def check(before: OnnxModel, after: TypedGraph, feed: dict[str, np.ndarray], atol: float) -> None:
    """Valid, the same inputs and outputs, and nearly the same numbers."""
    proto = after.model.proto
    onnx.checker.check_model(proto, full_check=True)
    assert wrap(proto).inputs == before.inputs
    assert wrap(proto).outputs == before.outputs
    for wanted, got in zip(execute(before.proto, feed), execute(proto, feed), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, atol=atol)


def test_a_net_in_fp16():
    net = tiny_net()
    graph = cast(net, Precision.FP16)
    check(net, graph, {"image": RNG.standard_normal((2, 3, 6, 6), dtype=np.float32)}, 4e-3)
    assert graph.precision is Precision.FP16
    assert [layer.node for layer in graph.layers] == ["conv1", "conv2", "product"]
    assert {layer.precision for layer in graph.layers} == {Precision.FP16}
    assert share_of(Precision.FP16, graph.layers) == 1.0
    assert all(layer.macs > 0 for layer in graph.layers)
    for name in ("conv1", "relu", "conv2", "shortcut", "product"):
        assert computes_in(graph, name) == TensorProto.FLOAT16
    for name in ("mean", "softmax", "flatten"):  # flatten follows the mean that stays
        assert computes_in(graph, name) == TensorProto.FLOAT
    assert any("Softmax stays in FP32 (softmax): it sums many" in note for note in graph.notes)


def test_each_tensor_is_cast_once_and_no_casts_follow_each_other():
    proto = cast(tiny_net(), Precision.FP16).model.proto
    casts = [node for node in proto.graph.node if node.op_type == "Cast"]
    pairs = {(node.input[0], node.attribute[0].i) for node in casts}
    assert len(pairs) == len(casts)
    written = {node.output[0] for node in casts}
    assert not written & {node.input[0] for node in casts}
    # image, r1 as an output, sum, flat, logits
    assert len(casts) == 5


def test_the_original_is_not_touched():
    net = tiny_net()
    before = net.proto.SerializeToString(deterministic=True)
    cast(net, Precision.FP16)
    assert net.proto.SerializeToString(deterministic=True) == before


def test_all_weights_of_fp16_nodes_are_fp16_and_no_other_copy_is_left():
    proto = cast(tiny_net(), Precision.FP16).model.proto
    assert {tensor.data_type for tensor in proto.graph.initializer} == {TensorProto.FLOAT16}
    assert len(proto.graph.initializer) == 4


def test_nodes_to_keep():
    net = tiny_net()
    graph = cast(net, Precision.FP16, keep=["conv2"])
    check(net, graph, {"image": RNG.standard_normal((2, 3, 6, 6), dtype=np.float32)}, 4e-3)
    assert computes_in(graph, "conv2") == TensorProto.FLOAT
    assert computes_in(graph, "conv1") == TensorProto.FLOAT16
    assert graph.precision is Precision.MIXED
    assert [layer.precision for layer in graph.layers] == ["fp16", "fp32", "fp16"]


def test_an_overflow_that_the_ranges_show_is_kept_out():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["large"], "grow"),
        helper.make_node("Mul", ["large", "small"], ["back"], "shrink"),
        helper.make_node("MatMul", ["back", "w"], ["y"], "after"),
    ]
    constants = [
        constant("w", np.full((4, 4), 200, np.float32)), constant("small", np.float32([0.001])),
    ]  # fmt: skip
    net = wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], constants))
    feed = {"x": np.full((1, 4), 100, np.float32)}
    # onnxruntime's CPU backend computes MatMul in FP32 and would hide the overflow.
    plain = ReferenceEvaluator(cast(net, Precision.FP16).model.proto)
    with np.errstate(all="ignore"):
        assert not np.isfinite(plain.run(None, feed)[0]).any()
    keep = overflowing(net, {"large": Range(0, 80_000), "back": Range(0, 80)})
    graph = cast(net, Precision.FP16, keep=keep)
    check(net, graph, feed, 60)  # of 64,000
    assert [layer.precision for layer in graph.layers] == ["fp32", "fp16"]
    assert any(
        "MatMul stays in FP32 (grow): its output 'large' reaches 80,000" in note
        for note in graph.notes
    )


def test_a_node_to_keep_that_is_not_there():
    with pytest.raises(ModelUnsupported, match=r"no node named 'conv9' .*enginecrate inspect"):
        cast(tiny_net(), Precision.FP16, keep=["conv9"])


def test_no_other_precision():
    with pytest.raises(ValueError, match="fp16 or bf16"):
        cast(tiny_net(), Precision.INT8)


@pytest.mark.parametrize(
    ("operator", "given", "attributes"),
    [
        ("Exp", [], {}),
        ("Log", [], {}),
        ("Pow", [constant("p", np.float32([2]))], {}),
        ("Softmax", [], {}),
        ("Softplus", [], {}),
        ("CumSum", [constant("axis", np.int64([1]))], {}),
        ("LayerNormalization", [constant("scale", np.ones(4, np.float32))], {}),
        ("Reciprocal", [], {}),
        ("Sqrt", [], {}),
    ],
)
def test_sensitive_operators_stay(operator: str, given: list[TensorProto], attributes: dict):
    net = elementwise(operator, *given, **attributes)
    graph = cast(net, Precision.FP16)
    wrap(graph.model.proto)
    assert computes_in(graph, "it") == TensorProto.FLOAT
    assert computes_in(graph, "after") == TensorProto.FLOAT16
    assert [note for note in graph.notes if note.startswith(f"{operator} stays in FP32 (it): ")]


@pytest.mark.parametrize("operator", ["Relu", "Sigmoid", "Tanh", "Neg", "Erf", "Identity"])
def test_robust_operators_go(operator: str):
    graph = cast(elementwise(operator), Precision.FP16)
    assert computes_in(graph, "it") == TensorProto.FLOAT16
    assert graph.notes == ()


@pytest.mark.parametrize("factor", [1e5, -7e4])
def test_a_constant_beyond_the_range_keeps_its_node(factor: float):
    net = elementwise("Mul", constant("factor", np.float32([factor])))
    graph = cast(net, Precision.FP16)
    assert computes_in(graph, "it") == TensorProto.FLOAT
    assert any("'factor' holds 1e+05" in note or "'factor' holds 7e+04" in note
               for note in graph.notes)  # fmt: skip


def test_a_constant_too_small_keeps_its_node():
    net = elementwise("Add", constant("epsilon", np.float32([1e-12])))
    graph = cast(net, Precision.FP16)
    assert computes_in(graph, "it") == TensorProto.FLOAT
    assert any("'epsilon' has no value above 1e-12: too small" in note for note in graph.notes)


def test_some_tiny_weights_among_others_do_no_harm():
    weights = RNG.standard_normal((4, 4)).astype(np.float32)
    weights[0] = 1e-9
    graph = cast(elementwise("MatMul", constant("m", weights)), Precision.FP16)
    assert computes_in(graph, "it") == TensorProto.FLOAT16


def test_infinite_constants_may_be_fp16():
    graph = cast(elementwise("Max", constant("low", np.float32([-np.inf]))), Precision.FP16)
    assert computes_in(graph, "it") == TensorProto.FLOAT16


def test_bounds_of_clip_are_cut_to_the_range():
    low, high = constant("low", np.float32(0)), constant("high", np.float32(3.4e38))
    for tensor in (low, high):
        del tensor.dims[:]
    net = elementwise("Clip", low, high)
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 2e-3)
    assert computes_in(graph, "it") == TensorProto.FLOAT16


def test_resize_keeps_its_scales():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
        helper.make_node("Resize", ["a", "roi", "scales"], ["y"], "resize", mode="linear"),
    ]
    constants = [
        weight("w", 2, 2, 1, 1),
        constant("roi", np.zeros(0, np.float32)),
        constant("scales", np.float32([1, 1, 2, 2])),
    ]
    net = wrap(model(nodes, [value("x", ["n", 2, 4, 4])], [value("y", ["n", 2, 8, 8])], constants))
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((1, 2, 4, 4), dtype=np.float32)}, 2e-3)
    assert computes_in(graph, "resize") == TensorProto.FLOAT16
    assert kinds(graph)["scales"] == TensorProto.FLOAT


def test_what_is_computed_from_shapes_stays():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "relu"),
        helper.make_node("Shape", ["a"], ["shape"], "shape"),
        helper.make_node("Cast", ["shape"], ["sizes"], "floats", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sizes", "scale"], ["scaled"], "scale_sizes"),
        helper.make_node("Floor", ["scaled"], ["whole"], "floor"),
        helper.make_node("Cast", ["whole"], ["target"], "integers", to=TensorProto.INT64),
        helper.make_node("Resize", ["w_x", "", "", "target"], ["y"], "resize"),
        helper.make_node("Mul", ["a", "two"], ["w_x"], "double"),
    ]
    nodes = [*nodes[:6], nodes[7], nodes[6]]
    constants = [
        constant("scale", np.float32([1, 1, 2, 2])), constant("two", np.float32([2])),
    ]  # fmt: skip
    net = wrap(
        model(nodes, [value("x", [1, 1, 3000, 2])], [value("y", [1, 1, 6000, 4])], constants)
    )
    graph = cast(net, Precision.FP16, keep=["relu"])
    for name in ("scale_sizes", "floor", "integers"):
        assert computes_in(graph, name) == TensorProto.FLOAT
    assert computes_in(graph, "resize") == TensorProto.FLOAT16
    check(net, graph, {"x": RNG.standard_normal((1, 1, 3000, 2), dtype=np.float32)}, 4e-3)


def test_subgraphs_stay_and_read_what_they_read_before():
    def branch(name: str, operator: str):
        node = helper.make_node(operator, ["a"], [name], f"in_{name}")
        return helper.make_graph([node], name, [], [value(name, ["n", 4])])

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "before"),
        helper.make_node(
            "If",
            ["c"],
            ["b"],
            "if",
            then_branch=branch("t", "Relu"),
            else_branch=branch("e", "Neg"),
        ),
        helper.make_node("MatMul", ["b", "w"], ["y"], "after"),
    ]
    inputs = [value("x", ["n", 4]), value("c", [], TensorProto.BOOL)]
    net = wrap(model(nodes, inputs, [value("y", ["n", 4])], [weight("w", 4, 4)]))
    graph = cast(net, Precision.FP16)
    feed = {"x": RNG.standard_normal((3, 4), dtype=np.float32), "c": np.array(True)}
    check(net, graph, feed, 2e-3)
    assert kinds(graph)["a"] == TensorProto.FLOAT
    assert [layer.precision for layer in graph.layers] == ["fp16", "fp16"]


def test_custom_operators_stay():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "before"),
        helper.make_node("Special", ["a"], ["y"], "special", domain="com.example"),
    ]
    proto = model(
        nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [weight("w", 4, 4)],
        domains=["com.example"],
    )  # fmt: skip
    graph = cast(wrap(proto), Precision.FP16)
    assert named(graph.model.proto, "special").input[0] == "a_fp32"
    assert operators(graph.model.proto) == ["Cast", "MatMul", "Cast", "Special"]


def test_sequences_stay():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "product"),
        helper.make_node("SequenceConstruct", ["a", "a"], ["s"], "collect"),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], "join", axis=1),
    ]
    net = wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 8])], [weight("w", 4, 4)]))
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 4e-3)
    assert computes_in(graph, "product") == TensorProto.FLOAT16


def test_a_normalisation_that_stands_alone_stays():
    names = ["scale", "shift", "mean", "variance"]
    given = [constant(name, np.abs(RNG.standard_normal(4)).astype(np.float32)) for name in names]
    net = elementwise("BatchNormalization", *given)
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 5e-2)
    assert computes_in(graph, "it") == TensorProto.FLOAT


def test_a_model_of_an_old_ir_version():
    proto = elementwise("Relu").proto
    proto.ir_version = 3
    proto.opset_import[0].version = 8
    proto.graph.input.append(value("w", [4, 4]))
    net = wrap(proto)
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 4e-3)


def test_casts_of_the_model_itself_make_no_pairs():
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], "widen", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["wide", "w"], ["a"], "product"),
        helper.make_node("Cast", ["a"], ["y"], "round", to=TensorProto.INT32),
    ]
    proto = model(
        nodes, [value("x", ["n", 4], TensorProto.FLOAT16)],
        [value("y", ["n", 4], TensorProto.INT32)], [weight("w", 4, 4)],
    )  # fmt: skip
    graph = cast(wrap(proto), Precision.FP16)
    assert operators(graph.model.proto) == ["MatMul", "Cast"]
    assert named(graph.model.proto, "product").input[0] == "x"


def test_constant_nodes_become_weights():
    nodes = [
        helper.make_node("Constant", [], ["w"], "weights", value=weight("", 4, 4)),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    net = wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])]))
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 2e-3)
    assert operators(graph.model.proto) == ["Cast", "MatMul", "Cast"]


def test_a_weight_that_two_precisions_share_exists_twice():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "second"),
    ]
    net = wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [weight("w", 4, 4)]))
    proto = cast(net, Precision.FP16, keep=["first"]).model.proto
    assert [tensor.name for tensor in proto.graph.initializer] == ["w", "w_fp16"]


def test_bf16_raises_the_opset_where_it_must():
    net = tiny_net()
    graph = cast(net, Precision.BF16)
    onnx.checker.check_model(graph.model.proto, full_check=True)
    assert graph.precision is Precision.BF16
    assert graph.model.proto.opset_import[0].version == 22
    assert computes_in(graph, "conv1") == TensorProto.BFLOAT16
    assert computes_in(graph, "softmax") == TensorProto.FLOAT
    assert graph.model.inputs == net.inputs


def test_bf16_takes_large_constants():
    graph = cast(elementwise("Mul", constant("factor", np.float32([1e9]))), Precision.BF16)
    assert computes_in(graph, "it") == TensorProto.BFLOAT16


def test_bf16_spares_what_tensorrt_does_not_take():
    net = elementwise("HardSwish")
    assert computes_in(cast(net, Precision.FP16), "it") == TensorProto.FLOAT16
    graph = cast(net, Precision.BF16)
    assert computes_in(graph, "it") == TensorProto.FLOAT
    assert any("HardSwish stays in FP32 (it): TensorRT" in note for note in graph.notes)


def test_layers_of_nameless_nodes():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])]
    net = wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [weight("w", 4, 4)]))
    assert [(layer.operator, layer.precision) for layer in layers_of(net)] == [("MatMul", "fp32")]


# Single nodes


def float_graph(net: OnnxModel) -> TypedGraph:
    layers = layers_of(net)
    return TypedGraph(net, precision_of(layers), layers)


def test_single_nodes():
    net = tiny_net()
    graph = cast_nodes(float_graph(net), ["product"])
    check(net, graph, {"image": RNG.standard_normal((2, 3, 6, 6), dtype=np.float32)}, 4e-3)
    assert graph.precision is Precision.MIXED
    assert [layer.precision for layer in graph.layers] == ["fp32", "fp32", "fp16"]
    assert operators(graph.model.proto).count("Cast") == 2
    assert graph.notes == ("product: in FP16, as asked",)


def test_single_nodes_one_after_the_other_make_no_pairs():
    once = cast_nodes(float_graph(tiny_net()), ["conv1"])
    twice = cast_nodes(once, ["relu"])
    assert computes_in(twice, "relu") == TensorProto.FLOAT16
    assert named(twice.model.proto, "relu").input[0] == named(twice.model.proto, "conv1").output[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("nobody", "no node named 'nobody'"), ("places", "cannot compute in FP16")],
)
def test_nodes_that_cannot_be_cast(name: str, message: str):
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], "whole", to=TensorProto.INT64),
        helper.make_node("Neg", ["whole"], ["y"], "places"),
    ]
    net = wrap(model(nodes, [value("x", ["n"])], [value("y", ["n"], TensorProto.INT64)]))
    with pytest.raises(ModelUnsupported, match=message):
        cast_nodes(float_graph(net), [name])


def quantised() -> OnnxModel:
    """A matrix product between Q/DQ pairs, and one more without."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dq"),
        helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["wd"], "dqw"),
        helper.make_node("MatMul", ["xd", "wd"], ["a"], "int8"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "float"),
    ]
    constants = [
        constant("s", np.float32([0.05])), constant("z", np.int8([0])),
        constant("wq", RNG.integers(-127, 127, (4, 4)).astype(np.int8)), weight("w", 4, 4),
    ]  # fmt: skip
    for tensor in constants[:2]:
        del tensor.dims[:]
    return wrap(model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], constants))


def test_a_quantised_graph_keeps_its_pairs():
    net = quantised()
    assert [layer.precision for layer in layers_of(net)] == ["int8", "fp32"]
    graph = cast(net, Precision.FP16)
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 5e-2)
    assert [layer.precision for layer in graph.layers] == ["int8", "fp16"]
    assert kinds(graph)["xd"] == kinds(graph)["wd"] == TensorProto.FLOAT


def test_a_single_node_of_a_quantised_graph():
    net = quantised()
    graph = cast_nodes(float_graph(net), ["int8"])
    check(net, graph, {"x": RNG.standard_normal((3, 4), dtype=np.float32)}, 5e-2)
    assert [layer.precision for layer in graph.layers] == ["fp16", "fp32"]


# The samples

MODELS = [
    "classification/models/efficientnet-lite0-224.onnx",
    "detection/models/nanodet-g-416.onnx",
]


@pytest.mark.parametrize("path", MODELS)
def test_the_samples_in_fp16(path: str):
    net = simplify(read_model(SAMPLES / path)).model
    graph = cast(net, Precision.FP16)
    onnx.checker.check_model(graph.model.proto, full_check=True)
    assert graph.precision is Precision.FP16
    (spec,) = net.inputs
    image = RNG.standard_normal((1, *spec.shape[1:]), dtype=np.float32)
    wanted = execute(net.proto, {spec.name: image}, optimise=True)
    got = execute(graph.model.proto, {spec.name: image}, optimise=True)
    for one, other in zip(wanted, got, strict=True):
        error = np.linalg.norm(other - one) / np.linalg.norm(one)
        assert other.dtype == np.float32
        assert 0 < error < 0.01


@pytest.mark.full
@pytest.mark.parametrize("path", MODELS)
def test_the_samples_build_with_tensorrt_rtx(path: str):
    net = simplify(read_model(SAMPLES / path)).model
    fp16, bf16 = (cast(net, precision).model for precision in (Precision.FP16, Precision.BF16))
    for capability in ("SM75", "SM80", "SM86", "SM89", "SM120"):
        assert rtx_plan(fp16, capability) > 0
        if capability != "SM75":  # Turing has no BF16
            assert rtx_plan(bf16, capability) > 0


@pytest.mark.full
def test_one_node_in_fp16_makes_the_classifier_build_for_turing():
    """TensorRT-RTX 1.7.1: "FP32 GEMM is not supported" on SM75."""
    net = simplify(read_model(SAMPLES / MODELS[0])).model
    assert rtx_plan(net, "SM75") == 0
    (gemm,) = (layer.node for layer in layers_of(net) if layer.operator == "Gemm")
    assert rtx_plan(cast_nodes(float_graph(net), [gemm]).model, "SM75") > 0


def rtx_plan(net: OnnxModel, capability: str) -> int:
    """Size of the plan that TensorRT-RTX builds for a GPU, without one; 0 when it refuses."""
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(net.proto.SerializeToString()), parser.get_error(0)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    profile = builder.create_optimization_profile()
    rest = net.inputs[0].shape[1:]
    profile.set_shape(net.inputs[0].name, (1, *rest), (8, *rest), (32, *rest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return plan.nbytes if plan is not None else 0


SCRIPT = """
import sys
from pathlib import Path
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.onnx.model import graph_digest, read_model
from enginecrate.graph.support.support import obstacles
from enginecrate.values import Digest, Precision
model = read_model(Path(sys.argv[1]))
graph = cast(model, Precision.BF16, keep=sys.argv[2:])
print(graph_digest(graph.model), graph.notes, graph.layers, obstacles(graph.model))
"""


def test_other_hash_seeds_give_the_same_bytes(tmp_path: Path):
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_net().proto.SerializeToString())
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path), "conv1", "product"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    ]
    assert outputs[0].startswith(b"sha256:")
    assert outputs[0] == outputs[1]


def test_the_same_graph_twice():
    net = tiny_net()
    first, second = (graph_digest(cast(net, Precision.FP16).model) for _ in range(2))
    assert first == second
