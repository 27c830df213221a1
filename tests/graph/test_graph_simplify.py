import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.rewrite.constant_folding import fold_constants
from enginecrate.graph.rewrite.simplify import Simplified, rewritten, simplifier, simplify
from graph_tools import execute, wrap
from tiny_models import constant, model, save, value, wordy_linear

SAMPLE = Path(__file__).parents[2] / "samples/classification/models/efficientnet-lite0-224.onnx"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return read_model(save(wordy_linear(), tmp_path_factory.mktemp("model") / "m.onnx"))


@pytest.fixture(scope="module")
def simplified(tiny: OnnxModel) -> Simplified:
    return simplify(tiny)


def test_folds_what_is_constant_and_keeps_inputs_and_outputs(
    tiny: OnnxModel, simplified: Simplified
):
    assert simplified.note == ""
    assert sum(simplified.before.values()) == 5
    assert sum(simplified.after.values()) <= 2
    assert simplified.model.inputs == tiny.inputs
    assert simplified.model.outputs == tiny.outputs
    assert simplified.model.source_digest == tiny.source_digest
    sizes = simplified.model.proto.graph.input[0].type.tensor_type.shape.dim
    assert (sizes[0].dim_param, sizes[1].dim_value) == ("n", 3)


def test_the_function_stays_the_same(tiny: OnnxModel, simplified: Simplified):
    x = np.random.default_rng(1).standard_normal((5, 3), dtype=np.float32)
    before, after = (
        ReferenceEvaluator(proto).run(None, {"x": x})[0]
        for proto in (tiny.proto, simplified.model.proto)
    )
    np.testing.assert_allclose(after, before, rtol=1e-5)


SCRIPT = """
import sys
from pathlib import Path
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.values import Digest
proto = simplify(read_model(Path(sys.argv[1]))).model.proto
print(Digest.of(proto.SerializeToString(deterministic=True)))
"""


def test_two_processes_with_other_hash_seeds_give_the_same_bytes():
    digests = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(SAMPLE)],
            env=os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed[0]},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    ]
    assert digests[0].startswith(b"sha256:")
    assert digests[0] == digests[1]


def test_nothing_is_printed_and_no_state_changes(
    tiny: OnnxModel, capfd: pytest.CaptureFixture[str]
):
    loggers = set(logging.root.manager.loggerDict)
    root, environment, modules = list(logging.root.handlers), dict(os.environ), set(sys.modules)
    simplify(tiny)
    assert set(logging.root.manager.loggerDict) == loggers
    assert (logging.root.handlers, os.environ) == (root, environment)
    assert set(sys.modules) == modules
    assert capfd.readouterr() == ("", "")


Pass = Callable[[onnx.ModelProto], None]


def folding_that(break_graph: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    def fold(proto: onnx.ModelProto) -> None:
        fold_constants(proto)
        break_graph(proto)

    monkeypatch.setattr("enginecrate.graph.rewrite.simplify.fold_constants", fold)
    # Another process would not have the change.
    here = lambda function, data, budget, what: rewritten(data)  # noqa: E731
    monkeypatch.setattr("enginecrate.graph.rewrite.simplify.run_isolated", here)


def assert_only_tidied(before: OnnxModel, simplified: Simplified) -> None:
    """Nothing was folded, but what passes its input on is gone."""
    assert (simplified.model.inputs, simplified.model.outputs) == (before.inputs, before.outputs)
    assert simplified.before == {"Add": 2, "Identity": 2, "MatMul": 1}
    assert simplified.after == {"Add": 2, "MatMul": 1}


def test_a_simplifier_that_renames_an_output_is_not_followed(
    tiny: OnnxModel, monkeypatch: pytest.MonkeyPatch
):
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.node[-1].output[0] = proto.graph.output[0].name = "other"

    folding_that(rename, monkeypatch)
    simplified = simplify(tiny)
    assert "changed the model's inputs or outputs" in simplified.note
    assert_only_tidied(tiny, simplified)


def test_a_simplifier_that_breaks_the_graph_is_not_followed(
    tiny: OnnxModel, monkeypatch: pytest.MonkeyPatch
):
    folding_that(lambda proto: proto.graph.node.pop(0), monkeypatch)
    simplified = simplify(tiny)
    assert "invalid graph" in simplified.note
    assert_only_tidied(tiny, simplified)


def test_the_simplifier_says_its_version():
    assert re.fullmatch(r"enginecrate passes \d+", simplifier())


def test_old_models_that_list_their_constants_as_inputs(tmp_path: Path):
    """Up to IR version 3 they had to."""
    proto = wordy_linear()
    proto.ir_version = 3
    proto.opset_import[0].version = 8
    proto.graph.input.extend([value("w_half", [3, 4]), value("b", [4])])
    simplified = simplify(read_model(save(proto, tmp_path / "m.onnx")))
    assert simplified.note == ""
    assert sum(simplified.after.values()) <= 2
    assert [info.name for info in simplified.model.proto.graph.input] == ["x"]
    feed = {"x": np.ones((2, 3), np.float32)}
    (wanted,), (got,) = execute(proto, feed), execute(simplified.model.proto, feed)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("attribute", "number", "kind"),
    [
        ("value_float", 2.0, TensorProto.FLOAT),
        ("value_floats", [1.0, 2.0], TensorProto.FLOAT),
        ("value_int", 3, TensorProto.INT64),
        ("value_ints", [3, 4], TensorProto.INT64),
    ],
)
def test_constants_of_every_kind_keep_their_type(attribute: str, number: object, kind: int):
    nodes = [
        helper.make_node("Constant", [], ["c"], **{attribute: number}),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["n", 2], kind)], [value("y", ["n", 2], kind)])
    simplified = simplify(wrap(proto))
    assert simplified.after == {"Mul": 1}
    onnx.checker.check_model(simplified.model.proto, full_check=True)
    feed = {"x": np.ones((3, 2), np.float32 if kind == TensorProto.FLOAT else np.int64)}
    (wanted,), (got,) = execute(proto, feed), execute(simplified.model.proto, feed)
    np.testing.assert_array_equal(got, wanted)


def test_a_sparse_constant_stays():
    sparse = helper.make_sparse_tensor(
        constant("v", np.float32([2])), constant("i", np.int64([[0, 1]])), [2, 2]
    )
    nodes = [
        helper.make_node("Constant", [], ["w"], sparse_value=sparse),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = model(nodes, [value("x", ["n", 2])], [value("y", ["n", 2])])
    simplified = simplify(wrap(proto))
    assert simplified.after == {"Constant": 1, "MatMul": 1}
    feed = {"x": np.ones((1, 2), np.float32)}
    assert execute(simplified.model.proto, feed)[0].tolist() == [[0, 2]]
