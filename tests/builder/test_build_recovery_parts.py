"""The parts of recovery: narrower ranges, sampled inputs, speed, and layers left in float."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.quantization.activations import layers_with_inputs
from enginecrate.builder.quantization.range_search import tighten
from enginecrate.builder.quantization.speed import compare_speed
from enginecrate.engines.fake import FakeEngine
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.quantize.quantize import quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.typed import Scheme
from enginecrate.values import DataType, TensorSpec
from tiny_models import constant, model, save, value

SPEC = TensorSpec("x", DataType.FP32, (1, 2))


def test_rare_values_are_clipped():
    values = np.random.default_rng(1).standard_normal(100_000).astype(np.float32)
    found = tighten({"t": Range(-20.0, 20.0)}, {"t": values}, Scheme.CPU)["t"]
    assert -7 < found.low < -3
    assert 3 < found.high < 7
    symmetric = tighten({"t": Range(-20.0, 20.0)}, {"t": values}, Scheme.TENSORRT)["t"]
    assert symmetric.low == -symmetric.high
    assert 3 < symmetric.high < 7


def test_a_range_in_full_use_stays():
    values = np.linspace(0, 6, 10_000, dtype=np.float32)
    assert tighten({"t": Range(0.0, 6.0)}, {"t": values}, Scheme.CPU)["t"] == Range(0.0, 6.0)


def test_ranges_without_values_and_of_fp8_stay():
    ranges = {"t": Range(-3.0, 9.0), "zero": Range(0.0, 0.0)}
    assert tighten(ranges, {}, Scheme.CPU) == ranges
    values = {name: np.zeros(10, np.float32) for name in ranges}
    assert tighten(ranges, values, Scheme.FP8) == ranges
    assert tighten(ranges, values, Scheme.CPU)["zero"] == Range(0.0, 0.0)


@pytest.mark.parametrize(
    ("group", "strides", "dilations"),
    [(1, [1, 1], [1, 1]), (2, [2, 2], [1, 1]), (4, [1, 1], [2, 2])],
)
def test_sampled_inputs_give_the_layers_outputs(tmp_path, group, strides, dilations):
    """Rows times weights are outputs of the convolution, channel by channel."""
    random = np.random.default_rng(2)
    weight = random.standard_normal((8, 4 // group, 3, 3)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], "conv",
        group=group, strides=strides, dilations=dilations, pads=[1, 1, 1, 1],
    )  # fmt: skip
    proto = model([node], [value("x", [1, 4, 9, 9])], [value("y", None)], [constant("w", weight)])
    proto.graph.output[0].CopyFrom(value("y", [1, 8, "h", "v"]))
    read = read_model(save(proto, tmp_path / "conv.onnx"))
    (layer,) = layers_with_inputs(read, ["x"])
    data = random.standard_normal((1, 4, 9, 9)).astype(np.float32)

    rows = layer.sample(data, 50, (0, 0))

    assert rows.shape[0] == group
    assert rows.shape[2] == layer.length == 9 * 4 // group
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    outputs = session.run(None, {"x": data})[0][0]
    for number in range(group):
        kernels = weight[number * 8 // group : (number + 1) * 8 // group].reshape(8 // group, -1)
        made = rows[number] @ kernels.T.astype(np.float64)
        channels = outputs[number * 8 // group : (number + 1) * 8 // group]
        places = channels.reshape(8 // group, -1).T
        distance = np.abs(made[:, None] - places[None]).max(axis=2).min(axis=1)
        assert distance.max() < 1e-4


def test_sampling_is_chosen_by_the_seed_alone(tmp_path):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    weights = constant("w", np.ones((2, 3), np.float32))
    proto = model([node], [value("x", ["n", 2])], [value("y", ["n", 3])], [weights])
    (layer,) = layers_with_inputs(read_model(save(proto, tmp_path / "m.onnx")), ["x"])
    data = np.arange(200, dtype=np.float32).reshape(100, 2)
    first = layer.sample(data, 10, (1, 2))
    assert first.shape == (1, 10, 2)
    assert np.array_equal(first, layer.sample(data, 10, (1, 2)))
    assert not np.array_equal(first, layer.sample(data, 10, (1, 3)))
    assert np.array_equal(layer.sample(data[:5], 10, (1, 2))[0], data[:5])


def test_both_engines_run_in_turn():
    order: list[str] = []

    def engine(name: str) -> FakeEngine:
        def compute(inputs):
            order.append(name)
            return {}

        return FakeEngine([SPEC], [], compute=compute, max_batch=0)

    speed = compare_speed(engine("a"), engine("b"), [{"x": np.zeros((1, 2), np.float32)}], pairs=4)
    assert speed.runs == 4
    assert order[:6] == ["a"] * 3 + ["b"] * 3
    assert order[6:] == ["a", "b", "b", "a", "a", "b", "b", "a"]


def test_layers_left_in_float_are_not_quantised_by_the_runtime(tmp_path):
    """Left alone, onnxruntime gives their weights one 8-bit scale when their input is quantised."""
    random = np.random.default_rng(4)
    weights = random.standard_normal((8, 8, 3, 3)).astype(np.float32)
    weights[0] *= 30  # with one scale for all, little is left of the other channels
    around = random.standard_normal((8, 8, 3, 3)).astype(np.float32) / 9
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "a", "e"], ["h"], "first", **window),
        helper.make_node("Conv", ["h", "w", "e"], ["k"], "kept", **window),
        helper.make_node("Relu", ["k"], ["g"], "relu"),
        helper.make_node("Conv", ["g", "b", "e"], ["y"], "last", **window),
    ]
    others = around.copy()
    others[:, 0] = 0
    constants = [
        constant("a", around),
        constant("b", others),
        constant("w", weights),
        constant("e", np.zeros(8, np.float32)),
    ]
    shape = [1, 8, 6, 6]
    proto = model(nodes, [value("x", shape)], [value("y", shape)], constants)
    given = read_model(save(proto, tmp_path / "three.onnx"))
    ends = {"x": 4.0, "h": 5.0, "k": 60.0, "g": 60.0, "y": 60.0}
    ranges = {name: Range(-end, end) for name, end in ends.items()} | {"g": Range(0.0, 60.0)}
    graph = quantize(given, ranges, Scheme.CPU, exclude=["kept"]).model
    data = {"x": random.standard_normal(shape).astype(np.float32)}
    measured, simulated = (
        load_candidate(graph, proof).run(data)["y"] for proof in ("measured", "simulated")
    )
    assert np.linalg.norm(measured - simulated) < 0.02 * np.linalg.norm(simulated)
