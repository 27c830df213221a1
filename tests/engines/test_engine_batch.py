from pathlib import Path

import onnx
import pytest
from onnx import helper

from enginecrate.engines.batch_limit import DEFAULT_MAX_BATCH, find_max_batch
from enginecrate.errors import PlanBuildFailed
from enginecrate.graph.onnx.model import OnnxModel, read_model
from tiny_models import model, save, value


def two_inputs(a: list, b: list, c: list, folder: Path) -> OnnxModel:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    proto = model([node], [value("a", a), value("b", b)], [value("c", c)])
    onnx.checker.check_model(proto)
    return read_model(save(proto, folder / "m.onnx"))


@pytest.mark.parametrize(
    ("a", "b", "c", "batch"),
    [
        (["n", 3], ["n", 3], ["n", 3], DEFAULT_MAX_BATCH),
        ([None, 3], [None, 3], [None, 3], DEFAULT_MAX_BATCH),
        (["n", 3], ["n", 3], ["other", 3], DEFAULT_MAX_BATCH),  # exporters name outputs anew
        (["n", 3], [1, 3], ["n", 3], 0),
        (["n", 3], ["n", 3], [4, 3], 0),
        (["n", 3], ["tokens", 3], ["n", 3], 0),
        ([4, 3], [4, 3], [4, 3], 0),
        (["n", 3], [], ["n", 3], 0),
    ],
)
def test_a_batch_is_dynamic_on_every_tensor(tmp_path: Path, a: list, b: list, c: list, batch: int):
    assert find_max_batch(two_inputs(a, b, c, tmp_path), ()) == batch


def test_profiles_say_how_large(tmp_path: Path):
    tiny = two_inputs(["n", 3], ["n", 3], ["n", 3], tmp_path)

    def profile(largest_a: int, largest_b: int) -> dict:
        return {"a": ((1, 3), (2, 3), (largest_a, 3)), "b": ((1, 3), (2, 3), (largest_b, 3))}

    assert find_max_batch(tiny, [profile(8, 8), profile(16, 16)]) == 16
    with pytest.raises(PlanBuildFailed, match=r"profile 0 .*\(a 8, b 4\)"):
        find_max_batch(tiny, [profile(8, 4)])
