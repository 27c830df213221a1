from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from enginecrate.graph.describe.cost import layer_costs, model_cost, weight_bytes
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.rewrite.simplify import simplify
from graph_tools import wrap
from tiny_models import constant, model, value, wordy_linear

SAMPLES = Path(__file__).parents[2] / "samples"


def single(operator, inputs, output, weights=(), **attributes):
    """One node between these shapes; the weights are constants."""
    names = [f"x{place}" for place in range(len(inputs))]
    constants = [
        constant(f"w{place}", np.ones(shape, np.float32)) for place, shape in enumerate(weights)
    ]
    node = helper.make_node(
        operator, [*names, *(one.name for one in constants)], ["y"], "it", **attributes
    )
    infos = [value(name, shape) for name, shape in zip(names, inputs, strict=True)]
    return wrap(model([node], infos, [value("y", output)], constants))


@pytest.mark.parametrize(
    ("graph", "macs"),
    [
        (
            single("Conv", [["n", 3, 8, 8]], ["n", 4, 6, 6], [(4, 3, 3, 3)]),
            4 * 6 * 6 * 3 * 9,
        ),
        (
            single("Conv", [["n", 4, 8, 8]], ["n", 4, 8, 8], [(4, 1, 3, 3), (4,)],
                   group=4, pads=[1, 1, 1, 1]),
            4 * 8 * 8 * 9,
        ),
        (
            single("ConvTranspose", [["n", 4, 5, 5]], ["n", 6, 10, 10], [(4, 6, 2, 2)],
                   strides=[2, 2]),
            4 * 5 * 5 * 6 * 4,
        ),
        (single("Gemm", [["n", 5]], ["n", 7], [(7, 5)], transB=1), 5 * 7),
        (single("Gemm", [[5, 3]], [3, 7], [(5, 7)], transA=1), 3 * 5 * 7),
        (single("MatMul", [["n", 2, 3, 4], ["n", 2, 4, 5]], ["n", 2, 3, 5]), 2 * 3 * 4 * 5),
        (single("MatMul", [["n", 4]], ["n"], [(4,)]), 4),
        (
            single("Einsum", [["n", 3, 4], ["n", 4, 5]], ["n", 3, 5], equation="bij,bjk->bik"),
            3 * 4 * 5,
        ),
        (
            single("Einsum", [["n", 3, 4], ["n", 4, 5]], ["n", 3, 5],
                   equation="...ij,...jk->...ik"),
            3 * 4 * 5,
        ),
    ],
)  # fmt: skip
def test_multiply_adds(graph, macs: int):
    (cost,) = layer_costs(graph)
    assert (cost.node, cost.macs, cost.flops, cost.note) == ("it", macs, 2 * macs, "")


def test_everything_but_the_weights_grows_with_the_batch():
    graph = single("Conv", [["n", 3, 8, 8]], ["n", 4, 6, 6], [(4, 3, 3, 3)])
    (one,), (eight,) = layer_costs(graph), layer_costs(graph, 8)
    weights = 4 * 3 * 9 * 4
    assert eight.macs == 8 * one.macs
    assert one.bytes == (3 * 64 + 4 * 36) * 4 + weights
    assert eight.bytes == 8 * (3 * 64 + 4 * 36) * 4 + weights
    assert weight_bytes(graph.proto) == weights


def test_a_shape_that_is_unknown_counts_nothing_and_says_so():
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"], "search"),
        helper.make_node("Cast", ["places"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["w", "floats"], ["y"], "product"),
    ]
    graph = wrap(
        model(
            nodes,
            [value("x", ["n", 3])],
            [value("y", [4, None])],
            [constant("w", np.ones((4, 2), np.float32))],
        )
    )
    (cost,) = layer_costs(graph)
    assert (cost.macs, cost.flops) == (0, 0)
    assert "shape inference" in cost.note
    (total,) = model_cost(graph)
    assert total.macs == 0
    assert total.unknown == ("search", "cast", "product")


def test_shapes_are_followed_through_reshapes():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"], "product"),
    ]
    constants = [
        constant("zero", np.array([0])),
        constant("rest", np.array([-1])),
        constant("w", np.ones((12, 5), np.float32)),
    ]
    graph = wrap(model(nodes, [value("x", ["n", 3, 4])], [value("y", ["n", 5])], constants))
    assert layer_costs(graph, 2)[0].macs == 2 * 12 * 5


def test_totals():
    graph = wrap(wordy_linear())
    one, four = model_cost(graph, (1, 4))
    assert (one.batch, one.macs, one.flops) == (1, 12, 24)
    assert (four.batch, four.macs) == (4, 48)
    moved = (
        (3 + 3) + (12 + 12) + (3 + 12 + 4) + (4 + 4) + (4 + 4 + 4)
    )  # one tensor read twice: once
    assert one.bytes == moved * 4
    assert one.largest == 12 * 4
    assert one.unknown == ()


@pytest.mark.parametrize(
    ("path", "layers", "macs"),
    [
        ("classification/models/efficientnet-lite0-224.onnx", 50, 385_187_552),
        ("detection/models/nanodet-g-416.onnx", 34, 2_090_083_840),
    ],
)
def test_the_samples(path: str, layers: int, macs: int):
    graph = simplify(read_model(SAMPLES / path)).model
    costs = layer_costs(graph)
    assert len(costs) == layers
    assert not any(cost.note for cost in costs)
    assert len({cost.node for cost in costs}) == layers
    (total,) = model_cost(graph)
    assert total.macs == sum(cost.macs for cost in costs) == macs
