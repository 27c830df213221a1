import numpy as np
from onnx import TensorProto, helper

from enginecrate.graph.onnx.names import fresh_name, name_nodes
from enginecrate.graph.onnx.walk import model_nodes
from tiny_models import constant, model, value, wordy_linear


def chain(*names: str):
    """One Relu after the other, with these names."""
    tensors = ["x", *(f"t{place}" for place in range(1, len(names))), "y"]
    nodes = [
        helper.make_node("Relu", [before], [after], name)
        for before, after, name in zip(tensors, tensors[1:], names, strict=False)
    ]
    return model(nodes, [value("x", [1])], [value("y", [1])])


def names_of(proto):
    return [node.name for node in model_nodes(proto)]


def test_unique_names_stay():
    proto = wordy_linear()
    before = names_of(proto)
    name_nodes(proto)
    assert names_of(proto) == before


def test_nameless_nodes_are_numbered_by_operator():
    proto = chain("", "", "given")
    name_nodes(proto)
    assert names_of(proto) == ["Relu_0", "Relu_1", "given"]


def test_a_number_that_is_taken_is_passed_over():
    proto = chain("", "Relu_0", "")
    name_nodes(proto)
    assert names_of(proto) == ["Relu_1", "Relu_0", "Relu_2"]


def test_the_first_of_equal_names_stays():
    proto = chain("same", "same", "same")
    name_nodes(proto)
    assert names_of(proto) == ["same", "Relu_0", "Relu_1"]


def test_nodes_of_subgraphs_are_named_too():
    def branch(name: str):
        node = helper.make_node("Constant", [], [name], value=constant("", np.ones(1, np.float32)))
        return helper.make_graph([node], name, [], [value(name, [1])])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
    proto = model([node], [value("c", [], TensorProto.BOOL)], [value("y", [1])])
    name_nodes(proto)
    assert sorted(names_of(proto)) == ["Constant_0", "Constant_1", "If_0"]


def test_naming_twice_changes_nothing():
    proto = chain("", "same", "same", "")
    name_nodes(proto)
    once = proto.SerializeToString(deterministic=True)
    name_nodes(proto)
    assert proto.SerializeToString(deterministic=True) == once


def test_a_fresh_name_is_new():
    assert fresh_name("a", {"b"}) == "a"
    assert fresh_name("a", ["a", "a_1"]) == "a_2"
