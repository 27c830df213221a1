"""Quantise/dequantise pairs: where they stand, what they hold, what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.errors import CalibrationInvalid, ModelInvalid
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.quantize.scales import asymmetric_scale
from enginecrate.graph.typed import Scheme, share_of
from enginecrate.values import Precision
from graph_tools import execute, named, operators, wrap
from small_network import RNG, image_feed, measured, residual_network, weights
from tiny_models import constant, model, value

SCHEMES = [Scheme.CPU, Scheme.TENSORRT, Scheme.FP8]


def single(nodes, inputs, outputs, constants, **options) -> OnnxModel:
    proto = model(nodes, inputs, outputs, constants, **options)
    name_nodes(proto)
    return wrap(proto)


def initializers(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def relative_error(model_: OnnxModel, other: OnnxModel, *, optimise: bool = False) -> float:
    feed = image_feed(model_, 3)
    one = np.concatenate([array.ravel() for array in execute(model_.proto, feed)])
    two = np.concatenate([array.ravel() for array in execute(other.proto, feed, optimise=optimise)])
    return float(np.linalg.norm(one - two) / np.linalg.norm(one))


def optimised(proto: onnx.ModelProto, path) -> onnx.ModelProto:
    """The graph as onnxruntime optimises it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(path)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_result_is_valid_near_fp32_and_says_what_it_is(scheme: Scheme):
    float_model = residual_network()
    typed = quantize(float_model, measured(float_model), scheme)
    onnx.checker.check_model(typed.model.proto, full_check=True)
    wanted = Precision.FP8 if scheme is Scheme.FP8 else Precision.INT8
    assert typed.precision is wanted
    assert [layer.node for layer in typed.layers] == ["first", "second", "score"]
    assert share_of(wanted, typed.layers) == 1
    assert (typed.model.inputs, typed.model.outputs) == (float_model.inputs, float_model.outputs)
    assert relative_error(float_model, typed.model) < (0.1 if scheme is Scheme.FP8 else 0.04)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_input_gives_the_same_bytes_and_is_not_changed(scheme: Scheme):
    float_model = residual_network()
    ranges = measured(float_model)
    before = float_model.proto.SerializeToString(deterministic=True)
    one, two = (
        quantize(float_model, order, scheme).model.proto.SerializeToString(deterministic=True)
        for order in (ranges, dict(reversed(ranges.items())))
    )
    assert one == two
    assert float_model.proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_the_ranges_that_are_asked_for_are_needed(scheme: Scheme):
    float_model = residual_network()
    ranges = measured(float_model)
    needed = quantizable(float_model, scheme)
    quantize(float_model, {name: ranges[name] for name in needed}, scheme)
    for name in needed:
        rest = {other: one for other, one in ranges.items() if other != name}
        with pytest.raises(CalibrationInvalid, match=f"lacks 1 tensors.*{name}"):
            quantize(float_model, rest, scheme)


def test_cpu_runs_everything_in_8_bits(tmp_path):
    float_model = residual_network()
    typed = quantize(float_model, measured(float_model), Scheme.CPU)
    assert "Relu" not in operators(typed.model.proto)  # the quantisation cuts off below 0, too
    found = operators(optimised(typed.model.proto, tmp_path / "o.onnx"))
    assert found.count("QLinearConv") == 2
    assert {"QLinearAdd", "QLinearGlobalAveragePool", "QGemm"} <= set(found)
    assert not {"Conv", "Gemm", "Add", "MatMul"} & set(found)
    assert found.count("QuantizeLinear") == 1  # the image; the logits come out of QGemm in float
    assert relative_error(float_model, typed.model, optimise=True) < 0.04


def test_cpu_weights_keep_to_7_bits_and_activations_meet_0_exactly():
    float_model = residual_network()
    proto = quantize(float_model, measured(float_model), Scheme.CPU).model.proto
    constants = initializers(proto)
    integers = [array for array in constants.values() if array.dtype == np.int8 and array.size > 8]
    assert len(integers) == 3
    assert all(np.abs(array.astype(int)).max() == 64 for array in integers)
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].dtype == np.uint8


def test_every_output_channel_has_a_scale_of_its_own():
    float_model = residual_network()
    proto = quantize(float_model, measured(float_model), Scheme.CPU).model.proto
    constants = initializers(proto)
    dequantize = {node.output[0]: node for node in proto.graph.node}
    scales = constants[dequantize[named(proto, "second").input[1]].input[1]]
    original = initializers(float_model.proto)["w2"]
    expected = np.abs(original).reshape(8, -1).max(1) / 64
    np.testing.assert_allclose(scales, expected, rtol=1e-6)


def test_tensorrt_quantises_symmetrically_in_front_of_what_multiplies():
    float_model = residual_network()
    proto = quantize(float_model, measured(float_model), Scheme.TENSORRT).model.proto
    constants = initializers(proto)
    for node in proto.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    second, skip = named(proto, "second"), named(proto, "skip")
    assert second.input[0] == skip.input[1] != "r1"  # the residual shares the convolution's pair
    assert skip.input[0] == "c2"  # what a convolution writes is not quantised
    assert second.input[2] == "b2"  # TensorRT takes no int32 bias
    assert constants["w2"].dtype == np.float32  # and not every version int8 weights


def test_fp8_needs_opset_19_and_leaves_what_has_no_fp8_kernel():
    float_model = residual_network(opset=13)
    proto = quantize(float_model, measured(float_model), Scheme.FP8).model.proto
    assert proto.opset_import[0].version >= 19
    assert named(proto, "skip").input[1] == "r1"
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    assert TensorProto.FLOAT8E4M3FN in kinds
    assert TensorProto.INT8 not in kinds


def test_an_old_opset_is_converted():
    float_model = residual_network(opset=11)
    typed = quantize(float_model, measured(float_model), Scheme.CPU)
    assert typed.model.proto.opset_import[0].version == 13
    assert relative_error(float_model, typed.model) < 0.04


@pytest.mark.parametrize("scheme", SCHEMES)
def test_excluded_nodes_stay_in_float(scheme: Scheme):
    float_model = residual_network()
    ranges = measured(float_model)
    typed = quantize(float_model, ranges, scheme, exclude=["second"])
    assert typed.precision is Precision.MIXED
    assert {one.node: one.precision for one in typed.layers}["second"] is Precision.FP32
    assert named(typed.model.proto, "second").input[1] == "w2"
    assert relative_error(float_model, typed.model) < 0.1
    everything = [node.name for node in float_model.proto.graph.node]
    untouched = quantize(float_model, {}, scheme, exclude=everything)
    assert untouched.precision is Precision.FP32
    assert operators(untouched.model.proto) == operators(float_model.proto)
    assert quantizable(float_model, scheme, exclude=everything) == ()


@pytest.mark.parametrize("bad", [Range(math.nan, math.nan), Range(-1, math.inf), Range(2, 1)])
def test_a_range_that_is_none_is_refused_by_name(bad: Range):
    float_model = residual_network()
    for scheme in SCHEMES:
        with pytest.raises(CalibrationInvalid, match="'r1'"):
            quantize(float_model, measured(float_model) | {"r1": bad}, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("still", [Range(0, 0), Range(3, 3), Range(-3, -3), Range(0, 1e-44)])
def test_tensors_that_never_change_have_a_scale_too(scheme: Scheme, still: Range):
    float_model = residual_network()
    typed = quantize(float_model, measured(float_model) | {"r1": still}, scheme)
    onnx.checker.check_model(typed.model.proto, full_check=True)
    for array in execute(typed.model.proto, image_feed(float_model)):
        assert np.isfinite(array).all()


def convolution(weight: np.ndarray, bias: np.ndarray | None = None, after=(), **options):
    """One convolution of a [n, C, 6, 6] image, and perhaps what comes behind it."""
    inputs = ["x", "w"] if bias is None else ["x", "w", "b"]
    nodes = [helper.make_node("Conv", inputs, ["y0"], "conv"), *after]
    constants = [constant("w", weight)]
    constants += [] if bias is None else [constant("b", bias)]
    constants += options.pop("constants", [])
    shape = ["n", weight.shape[1], 6, 6]
    outputs = [value(nodes[-1].output[0], ["n", weight.shape[0], None, None])]
    return single(nodes, [value("x", shape)], outputs, constants, **options)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_channels_of_zeros_and_of_tiny_weights(scheme: Scheme):
    weight = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    weight[1] = 0
    weight[2] *= 1e-12
    bias = np.array([0.5, 100.0, 100.0, -3.0], np.float32)
    float_model = convolution(weight, bias)
    typed = quantize(float_model, measured(float_model), scheme)
    (one,), (two,) = (
        execute(proto, image_feed(float_model, 3))
        for proto in (float_model.proto, typed.model.proto)
    )
    step = np.abs(one).max() / 100  # the output of a CPU's convolution is quantised, too
    np.testing.assert_allclose(one, two, atol=step)


def test_weights_that_are_no_numbers_are_refused_by_name():
    weight = np.ones((1, 1, 2, 2), np.float32)
    weight[0, 0, 0, 0] = np.nan
    float_model = convolution(weight)
    for scheme in SCHEMES:
        with pytest.raises(ModelInvalid, match="'w'"):
            quantize(float_model, {"x": Range(-1, 1), "y0": Range(-1, 1)}, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shared_weights_are_quantised_once(scheme: Scheme):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "one"),
        helper.make_node("Conv", ["y", "w"], ["z"], "two"),
    ]
    float_model = single(
        nodes,
        [value("x", ["n", 2, 6, 6])],
        [value("z", ["n", 2, 2, 2])],
        [weights("w", 2, 2, 3, 3)],
    )
    typed = quantize(float_model, measured(float_model), scheme)
    proto = typed.model.proto
    assert named(proto, "one").input[1] == named(proto, "two").input[1]
    assert relative_error(float_model, typed.model) < 0.15


def test_a_clip_stays_where_the_range_goes_beyond_it():
    clip = helper.make_node("Clip", ["y0", "low", "high"], ["y"], "clip")
    bounds = [constant("low", np.float32(0)), constant("high", np.float32(6))]
    float_model = convolution(
        RNG.standard_normal((2, 2, 3, 3)).astype(np.float32), after=[clip], constants=bounds
    )
    ranges = measured(float_model)
    within = quantize(float_model, ranges, Scheme.CPU).model.proto
    assert "Clip" not in operators(within)
    beyond = quantize(float_model, ranges | {"y": Range(0, 9)}, Scheme.CPU).model.proto
    assert "Clip" in operators(beyond)


def test_nodes_that_move_values_share_the_scale_of_what_they_move(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["y"], "one"),
        helper.make_node("MaxPool", ["y"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Split", ["p"], ["a", "b"], "split", axis=1),
        helper.make_node("Concat", ["b", "a"], ["c"], "concat", axis=1),
        helper.make_node("Conv", ["c", "w2"], ["z"], "two"),
        helper.make_node("Transpose", ["z"], ["t"], "transpose", perm=[0, 2, 3, 1]),
    ]
    float_model = single(
        nodes,
        [value("x", ["n", 2, 6, 6])],
        [value("t", ["n", 1, 1, 4])],
        [weights("w1", 4, 2, 3, 3), weights("w2", 4, 4, 2, 2)],
        opset=13,
    )
    assert quantizable(float_model, Scheme.CPU) == ("x", "y", "c", "z")
    typed = quantize(float_model, measured(float_model), Scheme.CPU)
    found = operators(optimised(typed.model.proto, tmp_path / "o.onnx"))
    assert "QLinearConcat" in found
    assert found.count("QuantizeLinear") == 1
    assert found.count("DequantizeLinear") == 1
    assert relative_error(float_model, typed.model, optimise=True) < 0.1


def test_float_nodes_between_layers_read_and_write_floats():
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["y"], "one"),
        helper.make_node("Tanh", ["y"], ["t"], "tanh"),
        helper.make_node("Conv", ["t", "w2"], ["z"], "two"),
        helper.make_node("Sigmoid", ["z"], ["s"], "tail"),
    ]
    float_model = single(
        nodes,
        [value("x", ["n", 2, 6, 6])],
        [value("s", ["n", 3, 2, 2])],
        [weights("w1", 4, 2, 3, 3), weights("w2", 3, 4, 3, 3)],
    )
    # Nothing multiplies behind the Sigmoid, so 8 bits would only cost accuracy there.
    assert quantizable(float_model, Scheme.CPU) == ("x", "y", "t", "z")
    assert (
        relative_error(float_model, quantize(float_model, measured(float_model), Scheme.CPU).model)
        < 0.02
    )


def test_constant_summands_and_factors_are_quantised_with_the_rest(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["y"], "one"),
        helper.make_node("Mul", ["y", "factor"], ["m"], "scale"),
        helper.make_node("Conv", ["m", "w2"], ["z"], "two"),
    ]
    factor = np.linspace(0.5, 2, 4, dtype=np.float32).reshape(1, 4, 1, 1)
    float_model = single(
        nodes,
        [value("x", ["n", 2, 6, 6])],
        [value("z", ["n", 3, 2, 2])],
        [weights("w1", 4, 2, 3, 3), weights("w2", 3, 4, 3, 3), constant("factor", factor)],
    )
    typed = quantize(float_model, measured(float_model), Scheme.CPU)
    assert "QLinearMul" in operators(optimised(typed.model.proto, tmp_path / "o.onnx"))
    assert relative_error(float_model, typed.model, optimise=True) < 0.05


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("turned", [0, 1])
def test_products_with_constant_matrices(scheme: Scheme, turned: int):
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m"], "matmul"),
        helper.make_node("Relu", ["m"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2"], ["y"], "gemm", transB=turned),
        helper.make_node("MatMul", ["y", "y"], ["z"], "of_activations"),
    ]
    shape = (6, 8) if turned else (8, 6)
    float_model = single(
        nodes,
        [value("x", [6, 6])],
        [value("z", [6, 6])],
        [weights("w1", 6, 8), weights("w2", *shape)],
    )
    typed = quantize(float_model, measured(float_model), scheme)
    precisions = {layer.node: layer.precision for layer in typed.layers}
    assert precisions["matmul"] == precisions["gemm"] != Precision.FP32
    assert precisions["of_activations"] is Precision.FP32
    # It multiplies the error of E4M3's 3 digits with itself.
    assert relative_error(float_model, typed.model) < (0.3 if scheme is Scheme.FP8 else 0.1)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_are_for_tensorrt_alone(groups: int):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", group=groups)
    float_model = single(
        [node],
        [value("x", ["n", 4, 5, 5])],
        [value("y", ["n", 6, 7, 7])],
        [weights("w", 4, 6 // groups, 3, 3)],
    )
    assert quantizable(float_model, Scheme.CPU) == ()
    assert quantizable(float_model, Scheme.FP8) == ()
    typed = quantize(float_model, measured(float_model), Scheme.TENSORRT)
    assert typed.precision is Precision.INT8
    assert relative_error(float_model, typed.model) < 0.05


def test_names_that_are_taken_are_left_to_their_tensors():
    float_model = convolution(RNG.standard_normal((2, 2, 3, 3)).astype(np.float32))
    proto = onnx.ModelProto()
    proto.CopyFrom(float_model.proto)
    for node in proto.graph.node:
        node.output[0] = "x/quantized"
    proto.graph.output[0].name = "x/quantized"
    taken = replace(wrap(proto), source=float_model.source)
    ranges: Mapping[str, Range] = {"x": Range(-4, 4), "x/quantized": Range(-20, 20)}
    for scheme in SCHEMES:
        typed = quantize(taken, ranges, scheme)
        onnx.checker.check_model(typed.model.proto, full_check=True)
        assert [spec.name for spec in typed.model.outputs] == ["x/quantized"]
        assert relative_error(taken, typed.model) < 0.1


def test_weights_that_are_too_large_for_the_graph_are_read_from_their_files(tmp_path):
    whole = residual_network()
    ranges = measured(whole)
    proto = onnx.ModelProto()
    proto.CopyFrom(whole.proto)
    onnx.save_model(
        proto, tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=64
    )
    light = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    outside = replace(whole, proto=light, weights=tmp_path)
    one, two = (quantize(each, ranges, Scheme.CPU).model.proto for each in (whole, outside))
    assert initializers(one).keys() == initializers(two).keys()
    for name, array in initializers(one).items():
        np.testing.assert_array_equal(initializers(two)[name], array)


@pytest.mark.parametrize(
    ("low", "high", "zero_point"), [(0, 255, 0), (-51, 204, 51), (-255, 0, 255), (51, 255, 0)]
)
def test_the_ends_of_a_range_are_the_ends_of_uint8(low: float, high: float, zero_point: int):
    """256 integers have 255 steps between them."""
    found = asymmetric_scale("x", Range(float(low), float(high)))
    assert (found.scale, found.zero_point) == (1, zero_point)
