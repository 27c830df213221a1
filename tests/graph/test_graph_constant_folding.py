"""Tensors that do not depend on the inputs are computed once, as by onnxruntime."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.graph.rewrite.constant_folding import fold_constants
from enginecrate.graph.rewrite.constant_operators import FOLDABLE
from graph_tools import execute, operators
from tiny_models import constant, model, value

RNG = np.random.default_rng(11)
FLOATS = RNG.standard_normal((3, 4)).astype(np.float32)
WHOLE = RNG.integers(-9, 9, (3, 4))
YES = FLOATS > 0


def numbers(*given: int) -> np.ndarray:
    return np.asarray(given, np.int64)


CASES: list[tuple[str, int, list[np.ndarray], dict[str, object]]] = [
    ("Abs", 17, [FLOATS], {}),
    ("Add", 17, [FLOATS, FLOATS[0]], {}),
    ("Add", 7, [WHOLE, WHOLE], {}),
    ("And", 17, [YES, ~YES], {}),
    ("Cast", 17, [FLOATS], {"to": TensorProto.FLOAT16}),
    ("Cast", 17, [FLOATS * 3], {"to": TensorProto.INT64}),
    ("Cast", 17, [FLOATS.astype(np.float16)], {"to": TensorProto.FLOAT}),
    ("Cast", 17, [WHOLE], {"to": TensorProto.BOOL}),
    ("Ceil", 17, [FLOATS], {}),
    ("Concat", 17, [FLOATS, FLOATS[:1]], {"axis": -2}),
    ("ConstantOfShape", 17, [numbers(2, 3)], {}),
    ("ConstantOfShape", 17, [numbers(2)], {"value": constant("v", np.int64([7]))}),
    ("Div", 17, [FLOATS, FLOATS + 5], {}),
    ("Div", 17, [WHOLE, numbers(3, -3, 2, -2)], {}),
    ("Div", 17, [numbers(-(2**63), -(2**63), 2, -7), numbers(3, -2, -(2**63), 2)], {}),
    ("Div", 17, [np.int32([-(2**31), 7]), np.int32([3, -(2**31)])], {}),
    ("Equal", 17, [YES, ~YES], {}),
    ("Xor", 17, [YES, YES[:1]], {}),
    ("Equal", 17, [WHOLE, WHOLE.T.reshape(3, 4)], {}),
    ("Expand", 17, [FLOATS[:1], numbers(2, 3, 1)], {}),
    ("Flatten", 17, [FLOATS], {"axis": -1}),
    ("Floor", 17, [FLOATS], {}),
    ("Gather", 17, [FLOATS, numbers(-1, 0)], {"axis": 1}),
    ("Gather", 17, [FLOATS, np.int64(2)], {}),
    ("Greater", 17, [FLOATS, FLOATS[0]], {}),
    ("GreaterOrEqual", 17, [FLOATS, FLOATS[0]], {}),
    ("Identity", 17, [WHOLE], {}),
    ("Less", 17, [FLOATS, FLOATS[0]], {}),
    ("LessOrEqual", 17, [FLOATS, FLOATS[0]], {}),
    ("Max", 17, [FLOATS, FLOATS[0], FLOATS[1]], {}),
    ("Min", 17, [WHOLE, WHOLE[0]], {}),
    ("Mul", 17, [FLOATS, FLOATS], {}),
    ("Neg", 17, [FLOATS], {}),
    ("Not", 17, [YES], {}),
    ("Or", 17, [YES, ~YES], {}),
    ("Range", 17, [np.int64(2), np.int64(11), np.int64(4)], {}),
    ("Range", 17, [np.int64(5), np.int64(-6), np.int64(-3)], {}),
    ("Reshape", 17, [FLOATS, numbers(0, 2, -1)], {}),
    ("Reshape", 17, [FLOATS[:0], numbers(0, 2, 2)], {"allowzero": 1}),
    ("Shape", 17, [FLOATS], {"start": -1}),
    ("Shape", 11, [FLOATS], {}),
    ("Size", 17, [FLOATS], {}),
    ("Slice", 9, [FLOATS], {"starts": [1], "ends": [9], "axes": [1]}),
    ("Slice", 9, [FLOATS], {"starts": [0, 1], "ends": [2, 3]}),
    ("Slice", 17, [FLOATS, numbers(1), numbers(2**62)], {}),
    ("Slice", 17, [FLOATS, numbers(-1), numbers(-(2**62)), numbers(1), numbers(-1)], {}),
    ("Slice", 17, [FLOATS, numbers(0, 3), numbers(9, 0), numbers(0, 1), numbers(2, -2)], {}),
    ("Slice", 17, [numbers(5, 6, 7, 8), numbers(-9), numbers(-99), numbers(0), numbers(-1)], {}),
    ("Slice", 17, [numbers(5, 6, 7, 8), numbers(9), numbers(-99), numbers(0), numbers(-3)], {}),
    ("Slice", 17, [numbers(5, 6, 7, 8), numbers(-9), numbers(-1)], {}),
    ("Slice", 17, [FLOATS[:0], numbers(-1), numbers(-9), numbers(0), numbers(-1)], {}),
    ("Split", 11, [FLOATS], {"split": [1, 3], "axis": 1}),
    ("Split", 17, [FLOATS, numbers(1, 2)], {}),
    ("Sqrt", 17, [np.abs(FLOATS)], {}),
    ("Squeeze", 11, [FLOATS[:, None]], {"axes": [1]}),
    ("Squeeze", 17, [FLOATS[None, :, None], numbers(-2)], {}),
    ("Squeeze", 17, [FLOATS[None, :, None]], {}),
    ("Sub", 17, [FLOATS, FLOATS[0]], {}),
    ("Tile", 17, [FLOATS, numbers(2, 1)], {}),
    ("Transpose", 17, [FLOATS], {}),
    ("Transpose", 17, [FLOATS[None]], {"perm": [2, 0, 1]}),
    ("Unsqueeze", 11, [FLOATS], {"axes": [0, -1]}),
    ("Unsqueeze", 17, [FLOATS, numbers(0, 3)], {}),
    ("Where", 17, [YES, FLOATS, FLOATS[0]], {}),
    ("Xor", 17, [YES, YES[0]], {}),
]


def folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    after = onnx.ModelProto.FromString(proto.SerializeToString())
    fold_constants(after)
    onnx.checker.check_model(after, full_check=True)
    return after


def computing(
    operator: str, given: Sequence[np.ndarray], attributes: dict[str, object], opset: int = 17
) -> onnx.ModelProto:
    """A node on constants, and a copy of each of its results, which are the outputs."""
    names = [f"in{place}" for place in range(len(given))]
    results = ["r0", "r1"] if operator == "Split" else ["r0"]
    made = helper.make_node(operator, names, results, operator, **attributes)
    copies = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in results]
    constants = [constant(name, array) for name, array in zip(names, given, strict=True)]
    for tensor, array in zip(constants, given, strict=True):
        tensor.CopyFrom(numpy_helper.from_array(np.asarray(array), tensor.name))
    proto = model([made], [], [], constants, opset=opset)
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.value_info
    types = {info.name: info.type.tensor_type for info in inferred}
    outputs = []
    for name in results:
        sizes = [None] * len(types[name].shape.dim)
        outputs.append(value(f"{name}_out", sizes, types[name].elem_type))
    return model([made, *copies], [], outputs, constants, opset=opset)


@pytest.mark.parametrize(
    ("operator", "opset", "given", "attributes"),
    CASES,
    ids=[f"{name}-{place}" for place, (name, *_) in enumerate(CASES)],
)
def test_every_operator_computes_what_onnxruntime_computes(
    operator: str, opset: int, given: list[np.ndarray], attributes: dict[str, object]
):
    proto = computing(operator, given, attributes, opset)
    after = folded(proto)
    assert operators(after) == ["Identity"] * len(proto.graph.output)
    for wanted, got in zip(execute(proto, {}), execute(after, {}), strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        np.testing.assert_array_equal(got, wanted)


def test_every_operator_has_a_case():
    assert {name for name, *_ in CASES} == FOLDABLE


@pytest.mark.parametrize(
    ("operator", "given", "attributes"),
    [
        ("Cast", [np.float32([np.nan, 1])], {"to": TensorProto.INT32}),
        ("Cast", [np.float32([3e9])], {"to": TensorProto.INT32}),
        ("Cast", [FLOATS], {"to": TensorProto.BFLOAT16}),
        ("Div", [WHOLE, numbers(0, 1, 1, 1)], {}),
        ("Range", [np.float32(0), np.float32(1), np.float32(0.1)], {}),
        ("MatMul", [FLOATS, FLOATS.T], {}),
        ("Exp", [FLOATS], {}),
        ("Gather", [FLOATS, numbers(7)], {}),
        ("Div", [numbers(-(2**63)), numbers(-1)], {}),
        ("Squeeze", [FLOATS[:1], numbers()], {}),
    ],
)
def test_what_is_undefined_or_differs_between_machines_stays(
    operator: str, given: list[np.ndarray], attributes: dict[str, object]
):
    after = folded(computing(operator, given, attributes))
    assert operators(after)[0] == operator


@pytest.mark.parametrize(
    ("operator", "given", "attributes"),
    [
        ("ConstantOfShape", [numbers(2**20, 2**20)], {}),
        ("Expand", [FLOATS, numbers(2**40, 3, 4)], {}),
        ("Tile", [FLOATS, numbers(2**20, 2**20)], {}),
        ("Range", [np.int64(0), np.int64(2**60), np.int64(1)], {}),
        ("Add", [np.ones((2**10, 1), np.float32), np.ones((1, 2**10), np.float32)], {}),
        ("Gather", [np.ones((2, 2**10), np.float32), np.zeros(2**10, np.int64)], {}),
    ],
)
def test_a_constant_that_would_be_much_larger_than_its_parts_stays_a_rule(
    operator: str, given: list[np.ndarray], attributes: dict[str, object]
):
    after = folded(computing(operator, given, attributes))
    assert operators(after)[0] == operator


def test_weights_that_are_stored_in_a_smaller_type_become_weights():
    weights = RNG.integers(-127, 127, (2**9, 2**11)).astype(np.int8)
    after = folded(computing("Cast", [weights], {"to": TensorProto.FLOAT}))
    assert operators(after) == ["Identity"]


@pytest.mark.parametrize("room", [2**19, 2**19 + 2**17])
def test_a_model_does_not_grow_beyond_what_a_file_can_hold(room: int):
    """Weights in FP16 that are cast: each tensor becomes twice as large, and both do not fit."""
    halves = [constant(f"h{i}", np.ones((2**7, 2**10), np.float16)) for i in range(2)]
    nodes = [
        helper.make_node("Cast", ["h0"], ["w0"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["h1"], ["w1"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "w0"], ["a"]),
        helper.make_node("Add", ["a", "w1"], ["y"]),
    ]
    shape = [2**7, 2**10]
    proto = model(nodes, [value("x", shape)], [value("y", shape)], halves)
    most = proto.ByteSize() + room
    fold_constants(proto, most)
    assert operators(proto) == ["Cast", "Add", "Add"]
    assert proto.ByteSize() <= most


def test_quantised_weights_stay_quantised():
    scale = constant("scale", np.float32(0.5))
    weights = constant("q", RNG.integers(-127, 127, (4, 4)).astype(np.int8))
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["n", 4])], [value("y", ["n", 4])], [weights, scale])
    assert operators(folded(proto)) == ["DequantizeLinear", "MatMul"]


def flattening(pick: int, *, channels: int | str = 3) -> onnx.ModelProto:
    """A tensor's size at `pick` goes into a shape, as exporters write it."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Shape", ["r"], ["s"]),
        helper.make_node("Gather", ["s", "pick"], ["size"]),
        helper.make_node("Concat", ["size", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["r", "shape"], ["y"]),
    ]
    constants = [constant("pick", numbers(pick)), constant("rest", numbers(-1))]
    return model(nodes, [value("x", ["n", channels, 2])], [value("y", [None, None])], constants)


@pytest.mark.parametrize("pick", [1, -1])
def test_a_size_that_the_inputs_fix_is_a_constant_though_others_are_free(pick: int):
    proto = flattening(pick)
    after = folded(proto)
    assert operators(after) == ["Relu", "Reshape"]
    feed = {"x": RNG.standard_normal((5, 3, 2)).astype(np.float32)}
    np.testing.assert_array_equal(execute(after, feed)[0], execute(proto, feed)[0])


def test_a_free_size_is_computed_in_every_run():
    assert operators(folded(flattening(0))) == operators(flattening(0))


@pytest.mark.parametrize("free", [-1, 0])
def test_sizes_that_no_tensor_can_have_are_free(free: int):
    proto = flattening(0)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = free
    assert operators(folded(proto)) == operators(proto)


def test_what_an_exporter_noted_of_an_inner_tensor_does_not_fix_a_size():
    """Its example had one photo; the input was made dynamic later."""
    proto = flattening(0)
    proto.graph.value_info.append(value("r", [1, 3, 2]))
    del proto.graph.output[:]
    proto.graph.output.extend([value("y", [1, 6]), value("r", [1, 3, 2])])
    assert operators(folded(proto)) == operators(proto)


def test_a_node_that_writes_an_output_stays():
    nodes = [
        helper.make_node("Add", ["a", "a"], ["fixed"]),
        helper.make_node("Add", ["x", "fixed"], ["y"]),
    ]
    outputs = [value("y", ["n", 4]), value("fixed", [3, 4])]
    proto = model(nodes, [value("x", [3, 4])], outputs, [constant("a", FLOATS)])
    assert operators(folded(proto)) == ["Add", "Add"]


def test_a_subgraph_still_finds_what_was_folded():
    branches = {
        name: helper.make_graph(
            [helper.make_node(operator, ["x", "w"], [f"{name}_y"])],
            name, [], [value(f"{name}_y", None)],
        )
        for name, operator in (("then_branch", "Add"), ("else_branch", "Sub"))
    }  # fmt: skip
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["w"]),
        helper.make_node("If", ["which"], ["y"], **branches),
    ]
    inputs = [value("x", [3, 4]), value("which", [], TensorProto.BOOL)]
    proto = model(nodes, inputs, [value("y", [3, 4])], [constant("a", FLOATS)])
    after = folded(proto)
    assert operators(after) == ["If"]
    for which in (True, False):
        feed = {"x": FLOATS, "which": np.asarray(which)}
        np.testing.assert_array_equal(execute(after, feed)[0], execute(proto, feed)[0])
