"""Weights rounded to fit their inputs, in the algorithm and in quantised graphs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.quantize.refinement import Refiner
from enginecrate.graph.quantize.rounding import Moments, round_weights
from enginecrate.graph.typed import Scheme, TypedGraph
from tiny_models import constant, model, save, value

RANDOM = np.random.default_rng(3)
MIX = RANDOM.standard_normal((12, 48))
"""Inputs are mixtures of 12 sources: correlated, as real activations are."""


def inputs(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, 12)) @ MIX + 0.7).astype(np.float32)


def moments_of(rows: np.ndarray) -> Moments:
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    return Moments(mean[None], (centred.T @ centred / len(rows))[None])


def test_rounding_to_fit_loses_less_than_rounding_to_nearest():
    seen, other = inputs(2000, 1).astype(np.float64), inputs(500, 2).astype(np.float64)
    weights = RANDOM.standard_normal((1, 8, 48))
    scales = np.abs(weights).max(axis=2) / 7
    rounded = round_weights(weights, scales, moments_of(seen), 7, centred=False)
    assert np.array_equal(rounded, np.rint(rounded))
    assert np.abs(rounded).max() <= 7
    nearest = np.rint(weights / scales[..., None])

    def loss(integers: np.ndarray) -> float:
        return float(np.square(other @ ((integers * scales[..., None] - weights)[0].T)).mean())

    assert loss(rounded) < loss(nearest) / 3


def test_without_anything_seen_weights_go_to_the_nearest_step():
    weights = np.array([[[0.4, -1.6, 3.0]]])
    nothing = Moments(np.zeros((1, 3)), np.zeros((1, 3, 3)))
    rounded = round_weights(weights, np.ones((1, 1)), nothing, 2, centred=True)
    assert rounded.tolist() == [[[0, -2, 2]]]
    too_long = Moments(np.zeros((1, 3)), np.zeros((1, 0, 0)))
    rounded = round_weights(weights, np.ones((1, 1)), too_long, 2, centred=True)
    assert rounded.tolist() == [[[0, -2, 2]]]


def two_layers() -> onnx.ModelProto:
    """y = relu(x @ a + b) @ c + d, x: [n, 48]; both Gemms."""
    random = np.random.default_rng(5)
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "c", "d"], ["y"], "second", transB=1),
    ]
    constants = [
        constant("a", random.standard_normal((48, 32), dtype=np.float32)),
        constant("b", random.standard_normal(32, dtype=np.float32)),
        constant("c", random.standard_normal((10, 32), dtype=np.float32)),
        constant("d", random.standard_normal(10, dtype=np.float32)),
    ]
    return model(nodes, [value("x", ["n", 48])], [value("y", ["n", 10])], constants)


@pytest.fixture
def given(tmp_path: Path) -> OnnxModel:
    return read_model(save(two_layers(), tmp_path / "two.onnx"))


def run(graph: onnx.ModelProto, rows: np.ndarray, *names: str) -> list[np.ndarray]:
    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    if names:
        del shown.graph.output[:]
        shown.graph.output.extend(value(name, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    found: list[np.ndarray] = session.run(None, {"x": rows})
    return found


def seen(given: OnnxModel) -> tuple[dict[str, Range], dict[str, Moments]]:
    rows = inputs(2000, 1)
    hidden, relu, output = run(given.proto, rows, "h", "r", "y")
    tensors: Mapping[str, np.ndarray] = {"x": rows, "h": hidden, "r": relu, "y": output}
    ranges = {name: Range(float(one.min()), float(one.max())) for name, one in tensors.items()}
    return ranges, {"first": moments_of(rows), "second": moments_of(relu)}


def loss(graph: TypedGraph, given: OnnxModel) -> float:
    rows = inputs(300, 2)
    wanted, found = run(given.proto, rows)[0], run(graph.model.proto, rows)[0]
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("scheme", [Scheme.CPU, Scheme.TENSORRT])
def test_a_refined_graph_is_nearer_to_the_model(given: OnnxModel, scheme: Scheme):
    ranges, moments = seen(given)
    assert set(quantizable(given, scheme)) <= set(ranges)
    plain = quantize(given, ranges, scheme)
    refined = Refiner(given, moments).refine(plain)
    assert loss(refined, given) < loss(plain, given)
    assert refined.layers == plain.layers
    assert [node.op_type for node in refined.model.proto.graph.node] == [
        node.op_type for node in plain.model.proto.graph.node
    ]
    onnx.checker.check_model(refined.model.proto, full_check=True)
    before = {one.name: one for one in plain.model.proto.graph.initializer}
    assert loss(plain, given) == loss(quantize(given, ranges, scheme), given)
    assert before == {one.name: one for one in plain.model.proto.graph.initializer}


def test_layers_in_float_stay_as_they_are(given: OnnxModel):
    ranges, moments = seen(given)
    mixed = Refiner(given, moments).refine(
        quantize(given, ranges, Scheme.TENSORRT, exclude=["first"])
    )
    constants = {one.name: one for one in mixed.model.proto.graph.initializer}
    nodes = {node.name: node for node in mixed.model.proto.graph.node}
    original = {one.name: one for one in given.proto.graph.initializer}
    for place, name in ((1, "a"), (2, "b")):
        kept = numpy_helper.to_array(constants[nodes["first"].input[place]])
        assert np.array_equal(kept, numpy_helper.to_array(original[name]))


def test_refining_is_repeatable(given: OnnxModel):
    ranges, moments = seen(given)
    plain = quantize(given, ranges, Scheme.CPU)
    one, other = (Refiner(given, moments).refine(plain).model.proto for _ in range(2))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_nothing_seen_changes_nothing(given: OnnxModel):
    ranges, _ = seen(given)
    plain = quantize(given, ranges, Scheme.CPU)
    assert Refiner(given, {}).refine(plain) is plain
