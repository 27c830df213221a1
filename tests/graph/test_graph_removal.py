"""Identity and Dropout go where they do nothing."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.graph.rewrite.removal import remove_passing
from enginecrate.graph.rewrite.simplify import simplify
from graph_tools import execute, operators, wrap
from tiny_models import constant, model, value

X, Y = value("x", ["n", 3]), value("y", ["n", 3])
FEED = {"x": np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)}


def removed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """After the removal; it computes the same."""
    after = onnx.ModelProto.FromString(proto.SerializeToString())
    remove_passing(after.graph)
    onnx.checker.check_model(after, full_check=True)
    for wanted, got in zip(execute(proto, FEED), execute(after, FEED), strict=True):
        np.testing.assert_array_equal(got, wanted)
    return after


def node(operator: str, source: list[str], target: list[str], **attributes) -> onnx.NodeProto:
    return helper.make_node(operator, source, target, **attributes)


def truth(name: str, flag: bool) -> TensorProto:
    tensor = constant(name, np.array(flag))
    del tensor.dims[:]
    return tensor


def test_between_two_nodes():
    proto = model(
        [node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["b"]), node("Neg", ["b"], ["y"])],
        [X], [Y],
    )  # fmt: skip
    assert operators(removed(proto)) == ["Relu", "Neg"]


def test_behind_an_input_and_before_an_output():
    nodes = [
        node("Identity", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Identity", ["b"], ["y"]),
    ]  # fmt: skip
    proto = model(nodes, [X], [Y])
    assert operators(removed(proto)) == ["Relu"]


def test_several_in_a_row():
    nodes = [node("Relu", ["x"], ["t0"])]
    nodes += [node("Identity", [f"t{place}"], [f"t{place + 1}"]) for place in range(4)]
    nodes.append(node("Identity", ["t4"], ["y"]))
    assert operators(removed(model(nodes, [X], [Y]))) == ["Relu"]


def test_straight_from_input_to_output_stays():
    assert operators(removed(model([node("Identity", ["x"], ["y"])], [X], [Y]))) == ["Identity"]


def test_one_tensor_under_two_output_names_stays():
    nodes = [node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["z"])]
    after = removed(model(nodes, [X], [Y, value("z", ["n", 3])]))
    assert operators(after) == ["Relu", "Identity"]


def test_two_outputs_of_one_tensor():
    nodes = [
        node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["y"]), node("Identity", ["a"], ["z"]),
    ]  # fmt: skip
    after = removed(model(nodes, [X], [Y, value("z", ["n", 3])]))
    assert operators(after) == ["Relu", "Identity"]


def test_a_constant_as_an_output_stays():
    proto = model(
        [node("Identity", ["w"], ["y"])], [X], [value("y", [2])], [constant("w", np.ones(2))]
    )
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert operators(removed(proto)) == ["Identity"]


def test_what_a_subgraph_reads_stays():
    inner = helper.make_graph([node("Neg", ["b"], ["inner"])], "then", [], [Y])
    inner.output[0].name = "inner"
    other = helper.make_graph([node("Relu", ["b"], ["outer"])], "else", [], [Y])
    other.output[0].name = "outer"
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["b"]),
        node("If", ["c"], ["y"], then_branch=inner, else_branch=other),
    ]
    proto = model(nodes, [X], [Y], [truth("c", True)])
    assert operators(removed(proto)) == ["Relu", "Identity", "If"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "gone"),
    [
        (["a"], ["b"], True),
        (["a", "ratio"], ["b"], True),
        (["a", "ratio", "off"], ["b"], True),
        (["a", "", "off"], ["b"], True),
        (["a", "ratio", "off"], ["b", "mask"], True),  # the mask is not read
        (["a", "ratio", "on"], ["b"], False),
    ],
)
def test_dropout(inputs: list[str], outputs: list[str], gone: bool):
    nodes = [
        node("Relu", ["x"], ["a"]), node("Dropout", inputs, outputs), node("Neg", ["b"], ["y"]),
    ]  # fmt: skip
    ratio = constant("ratio", np.float32(0))  # so that onnxruntime's answer is no chance
    del ratio.dims[:]
    proto = model(nodes, [X], [Y], [ratio, truth("off", False), truth("on", True)])
    after = removed(proto)
    assert operators(after) == ["Relu", *([] if gone else ["Dropout"]), "Neg"]
    assert len(after.graph.initializer) == (0 if gone else 2)


def test_dropout_whose_mask_is_read_stays():
    nodes = [
        node("Dropout", ["x"], ["a", "mask"]),
        node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        node("Mul", ["a", "m"], ["y"]),
    ]
    assert operators(removed(model(nodes, [X], [Y]))) == ["Dropout", "Cast", "Mul"]


def test_dropout_whose_mode_is_an_input_stays():
    nodes = [node("Dropout", ["x", "", "mode"], ["a"]), node("Neg", ["a"], ["y"])]
    proto = model(nodes, [X, value("mode", [], TensorProto.BOOL)], [Y])
    after = onnx.ModelProto.FromString(proto.SerializeToString())
    remove_passing(after.graph)
    assert operators(after) == ["Dropout", "Neg"]


def test_an_operator_of_another_domain_with_the_same_name_stays():
    nodes = [helper.make_node("Dropout", ["x"], ["y"], domain="com.example")]
    proto = model(nodes, [X], [Y], domains=["com.example"])
    remove_passing(proto.graph)
    assert operators(proto) == ["Dropout"]


def test_simplify_leaves_no_training_nodes():
    nodes = [
        node("Identity", ["x"], ["a"]),
        node("MatMul", ["a", "w"], ["b"]),
        node("Dropout", ["b", "ratio", "off"], ["c"]),
        node("Relu", ["c"], ["d"]),
        node("Identity", ["d"], ["y"]),
    ]
    ratio = constant("ratio", np.float32(0.5))
    del ratio.dims[:]
    constants = [constant("w", np.eye(3, dtype=np.float32)), ratio, truth("off", False)]
    simplified = simplify(wrap(model(nodes, [X], [Y], constants)))
    assert simplified.before == {"Identity": 2, "Dropout": 1, "MatMul": 1, "Relu": 1}
    assert simplified.after == {"MatMul": 1, "Relu": 1}
    assert all(one.name for one in simplified.model.proto.graph.node)
