"""The trial run: tiny models, each with one fault that it must find."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.builder.trial.answers import far
from enginecrate.builder.trial.batches import first_difference
from enginecrate.builder.trial.samples import shipped_photos
from enginecrate.builder.trial.trial import Trial, try_model
from enginecrate.graph.onnx.model import read_model
from enginecrate.pipelines.headers import read_header
from enginecrate.values import PipelineSpec, Precision

F = TensorProto.FLOAT
node = helper.make_node


def constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def trial(
    tmp_path: Path,
    nodes: Sequence[onnx.NodeProto],
    output: Sequence[Any],
    constants: Sequence[onnx.TensorProto] = (),
    image: Sequence[Any] = ("batch", 3, 8, 8),
    **spec: Any,
) -> Trial:
    """The trial of a model from `x` to `y`."""
    graph = helper.make_graph(
        list(nodes),
        "trial",
        [helper.make_tensor_value_info("x", F, image)],
        [helper.make_tensor_value_info("y", F, output)],
        list(constants),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return try_model(read_model(tmp_path / "m.onnx"), PipelineSpec(**spec))


def names(found: Trial) -> list[str]:
    return [finding.name for finding in found.findings]


MEAN = node("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0)  # [batch, 3]
HEAD = (
    MEAN,
    node("Mul", ["mean", "scale"], ["logits"]),
)


def test_the_photos_differ_in_size_and_shape():
    first, second = (read_header(photo.payload) for photo in shipped_photos())
    assert (first.width, first.height) != (second.width, second.height)
    assert (first.width < first.height) != (second.width < second.height)


def test_a_right_app_runs_without_a_finding(tmp_path: Path):
    found = trial(
        tmp_path,
        [*HEAD, node("Softmax", ["logits"], ["y"], axis=1)],
        ["batch", 3],
        [constant("scale", np.float32(0.1))],
        task="classification",
        activation="none",
    )
    assert names(found) == []
    assert found.facts.samples == ("astronaut.jpg", "chelsea.jpg")
    assert (found.max_batch, found.batches.sizes[0]) == (32, 2)


def test_a_softmax_over_the_batch_is_no_softmax(tmp_path: Path):
    found = trial(
        tmp_path,
        [*HEAD, node("Softmax", ["logits"], ["y"], axis=0)],
        ["batch", 3],
        [constant("scale", np.float32(0.1))],
        task="classification",
        activation="none",
    )
    assert names(found) == ["sum", "one-by-one"]
    assert found.max_batch == 1


def test_a_second_softmax_is_named(tmp_path: Path):
    found = trial(
        tmp_path,
        [*HEAD, node("Softmax", ["logits"], ["y"], axis=1)],
        ["batch", 3],
        [constant("scale", np.float32(0.1))],
        task="classification",
    )
    assert names(found) == ["softmax-twice"]
    assert not found.faults


def test_logits_are_no_scores(tmp_path: Path):
    found = trial(
        tmp_path,
        (MEAN, node("Mul", ["mean", "scale"], ["y"])),
        ["batch", 3],
        [constant("scale", np.float32(1))],
        task="classification",
        activation="none",
    )
    assert set(names(found)) == {"score"}
    assert "softmax" in str(found.faults[0])


@pytest.mark.parametrize(
    ("nodes", "constants", "words"),
    [
        # Batch statistics: a normalisation in training mode.
        (
            [
                MEAN,
                node("ReduceMean", ["mean"], ["middle"], axes=[0], keepdims=1),
                node("Sub", ["mean", "middle"], ["centred"]),
                node("Add", ["centred", "one"], ["logits"]),
            ],
            [constant("one", np.float32(1))],
            "another 'y' than alone",
        ),
        # Only the first place has an answer.
        (
            [
                MEAN,
                node("Shape", ["mean"], ["sizes"]),
                node("Gather", ["sizes", "zero"], ["size"]),
                node("Range", ["zero", "size", "step"], ["places"]),
                node("Equal", ["places", "zero"], ["first"]),
                node("Cast", ["first"], ["mask"], to=F),
                node("Unsqueeze", ["mask", "axis"], ["column"]),
                node("Mul", ["mean", "column"], ["logits"]),
            ],
            [
                constant("zero", np.int64(0)),
                constant("step", np.int64(1)),
                constant("axis", np.array([1], np.int64)),
            ],
            "another 'y' than alone",
        ),
        # A batch of 1 was written into it.
        (
            [MEAN, node("Reshape", ["mean", "shape"], ["logits"])],
            [constant("shape", np.array([1, 3], np.int64))],
            "a batch of 2 fails",
        ),
        # The batch is folded into the classes.
        (
            [MEAN, node("Reshape", ["mean", "shape"], ["folded"]),
             node("Slice", ["folded", "start", "end", "axis"], ["logits"])],
            [
                constant("shape", np.array([1, -1], np.int64)),
                constant("start", np.array([0], np.int64)),
                constant("end", np.array([3], np.int64)),
                constant("axis", np.array([1], np.int64)),
            ],
            "a batch of 2 gives 'y' the shape [1, 3]",
        ),
    ],
    ids=["statistics", "first only", "written in", "folded"],
)  # fmt: skip
def test_a_batch_that_spoils_answers_is_served_one_by_one(
    tmp_path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    words: str,
):
    found = trial(
        tmp_path,
        [*nodes, node("Softmax", ["logits"], ["y"], axis=1)],
        ["batch", 3],
        constants,
        task="classification",
        activation="none",
        std=(255, 255, 255),
    )
    assert names(found) == ["one-by-one"]
    assert not found.faults
    assert found.max_batch == 1
    assert words in str(found.findings[0])


def boxes(score: float) -> list[onnx.TensorProto]:
    """A YOLO output of a hundred boxes whose score is `score` times the photo's brightness."""
    table = np.zeros((1, 6, 100), np.float32)
    table[0, :4] = np.array([4, 4, 3, 3])[:, None]
    gain = np.zeros((1, 6, 100), np.float32)
    gain[0, 4:] = score
    return [
        constant("table", table),
        constant("gain", gain),
        constant("shape", np.array([-1, 1, 1], np.int64)),
    ]


YOLO = (
    node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
    node("Reshape", ["mean", "shape"], ["bright"]),
    node("Mul", ["bright", "gain"], ["scores"]),
    node("Add", ["scores", "table"], ["y"]),
)


@pytest.mark.parametrize(
    ("score", "expected"),
    [(0.001, []), (-0.001, ["silent"]), (1.0, ["error", "error"]), (np.nan, ["silent"])],
)
def test_a_detector_has_candidates_with_scores(tmp_path: Path, score: float, expected: list[str]):
    found = trial(
        tmp_path,
        YOLO,
        ["batch", 6, 100],
        boxes(score),
        task="detection",
        decoder="yolo",
        decoder_options={"kind": "plain", "channels": "first"},
    )
    assert [one.name for one in found.faults][: len(expected)] == expected
    assert bool(found.faults) == bool(expected)


def test_made_up_tensors_try_an_app_without_photos(tmp_path: Path):
    centred = [
        node("ReduceMean", ["x"], ["middle"], axes=[0], keepdims=1),
        node("Sub", ["x", "middle"], ["y"]),
    ]
    found = trial(tmp_path, centred, ["batch", 4], image=["batch", 4], task="tensors")
    assert found.facts.samples == ("made-up tensors 1", "made-up tensors 2")
    assert (names(found), found.max_batch) == (["one-by-one"], 1)


@pytest.mark.parametrize(("size", "ran"), [(8, 2), (5, 0)])
def test_sizes_that_only_the_vendor_knows_are_guessed_once(tmp_path: Path, size: int, ran: int):
    found = trial(
        tmp_path,
        [node("Add", ["x", "row"], ["y"])],
        ["batch", "n"],
        [constant("row", np.ones((1, size), np.float32))],
        image=["batch", "n"],
        task="tensors",
    )
    assert len(found.facts.samples) == ran
    assert names(found) == ([] if ran else ["not-run"])


def test_a_model_that_always_fails_is_a_fault(tmp_path: Path):
    found = trial(
        tmp_path,
        [MEAN, node("Reshape", ["mean", "shape"], ["y"])],
        ["batch", 4],
        [constant("shape", np.array([1, 4], np.int64))],
        task="classification",
    )
    assert [one.name for one in found.faults] == ["error", "error"]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(1e-8, False), (1.0, True)],
    ids=["a sigmoid that saturates", "another number"],
)
def test_noise_is_no_difference(scale: float, expected: bool):
    rng = np.random.default_rng(3)
    first, second = (scale * rng.random((1, 1, 64, 64), np.float32) for _ in range(2))
    assert far(first, second) is expected
    alone, found = {"y": first}, {"y": second}
    assert bool(first_difference(alone, found, Precision.FP32)) is expected


def test_one_wrong_row_of_a_table_is_a_difference():
    """The scores of a table are small beside its boxes."""
    table = np.zeros((1, 300, 6), np.float32)
    table[0, :40, :4], table[0, :40, 4] = 600, 0.6
    other = table.copy()
    other[0, 7, 4] = 0
    assert first_difference({"y": table}, {"y": other}, Precision.FP32) == "y"
    assert not first_difference({"y": table}, {"y": table * np.float32(1.0002)}, Precision.FP32)
