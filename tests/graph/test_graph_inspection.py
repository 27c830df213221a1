from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from enginecrate.graph.describe.inspection import DynamicDimension, count_operators, inspect_model
from enginecrate.graph.onnx.model import read_model
from tiny_models import constant, model, save, value, wordy_linear


def test_facts_of_a_model(tmp_path: Path):
    proto = wordy_linear()
    proto.producer_name, proto.producer_version = "pytorch", "2.9"
    path = save(proto, tmp_path / "m.onnx")
    facts = inspect_model(read_model(path))
    assert facts.bytes == path.stat().st_size
    assert facts.producer == "pytorch 2.9"
    assert (facts.ir_version, facts.opsets) == (9, {"ai.onnx": 17})
    assert facts.nodes == 5
    assert list(facts.operators.items()) == [("Add", 2), ("Identity", 2), ("MatMul", 1)]
    assert facts.parameters == 3 * 4 + 4
    assert facts.dynamic == (DynamicDimension("x", 0, "n"), DynamicDimension("y", 0, "n"))


def test_subgraphs_and_foreign_domains_are_counted():
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=constant("", np.ones(6, np.float32)))],
        "branch",
        [],
        [value("c", [6])],
    )
    nodes = [
        helper.make_node("If", ["condition"], ["z"], then_branch=branch, else_branch=branch),
        helper.make_node("Special", ["z"], ["y"], domain="com.example"),
    ]
    proto = model(
        nodes,
        [value("condition", [], TensorProto.BOOL)],
        [value("y", [6])],
        domains=["com.example"],
    )
    assert count_operators(proto) == {"Constant": 2, "If": 1, "com.example.Special": 1}


def test_parameters_in_subgraphs_count(tmp_path: Path):
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=constant("", np.ones(6, np.float32)))],
        "branch",
        [],
        [value("c", [6])],
    )
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    proto = model([node], [value("condition", [], TensorProto.BOOL)], [value("y", [6])])
    assert inspect_model(read_model(save(proto, tmp_path / "m.onnx"))).parameters == 12
