from decimal import Decimal

import msgspec
import numpy as np
import pytest

from enginecrate.errors import EngineRunFailed, LabelsInvalid, PipelineInvalid
from enginecrate.pipelines.base import ClassificationResult, Limits
from enginecrate.pipelines.classification import ClassificationPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

IMAGE = TensorSpec("image", DataType.FP32, (-1, 3, 8, 8))
LABELS = ("cat", "dog", "owl")
PICTURE = encoded(scene(12, 8), "PNG")


def make(*outputs: TensorSpec, labels=LABELS, **keys) -> ClassificationPipeline:
    outputs = outputs or (TensorSpec("y", DataType.FP32, (-1, 3)),)
    spec = PipelineSpec(task="classification", **keys)
    return ClassificationPipeline(spec, [IMAGE], outputs, labels, Limits())


def finish(pipeline: ClassificationPipeline, numbers, dtype=np.float32) -> ClassificationResult:
    context = pipeline.prepare(PICTURE).context
    return pipeline.finish({"y": np.array([numbers], dtype)}, context)


def scores(result: ClassificationResult) -> dict[str, float]:
    return {each.label: each.score for each in result.classes}


def exact_softmax(numbers: list[float]) -> list[float]:
    powers = [Decimal(number).exp() for number in numbers]
    return [float(power / sum(powers)) for power in powers]


@pytest.mark.parametrize(
    "numbers", [[1.5, -2.25, 0.75], [0, 0, 0], [5000, 4999, -5000], [-9000, -9001, -9000.5]]
)
def test_softmax(numbers: list[float]):
    found = scores(finish(make(), numbers))
    expected = dict(zip(LABELS, exact_softmax(numbers), strict=True))
    assert found == pytest.approx(expected, abs=1e-6)


def test_sigmoid_without_overflow():
    with np.errstate(all="raise", under="ignore"):
        found = scores(finish(make(activation="sigmoid"), [0.0, 1000.0, -1000.0]))
    assert found == {"dog": 1.0, "cat": 0.5, "owl": 0.0}


def test_no_activation_and_best_first():
    result = finish(make(activation="none", top_k=2), [0.25, 0.125, 0.5])
    assert [(each.label, each.class_id, each.score) for each in result.classes] == [
        ("owl", 2, 0.5),
        ("cat", 0, 0.25),
    ]
    assert (result.width, result.height) == (12, 8)


def test_of_equal_scores_the_first_class_comes_first():
    result = finish(make(activation="none"), [0.5, 0.5, 0.5])
    assert [each.class_id for each in result.classes] == [0, 1, 2]


def test_the_result_is_json():
    result = finish(make(), [1, 2, 3])
    assert msgspec.json.decode(msgspec.json.encode(result), type=ClassificationResult) == result


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_any_numeric_datatype(dtype):
    assert finish(make(), [1, 3, 2], dtype).classes[0].label == "dog"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(number: float):
    for activation in ("softmax", "none"):
        with pytest.raises(EngineRunFailed, match="'y' holds numbers that are not finite"):
            finish(make(activation=activation), [1.0, number, 2.0])


def test_without_labels_classes_have_numbers():
    assert finish(make(labels=()), [1, 3, 2]).classes[0].label == "class 1"


@pytest.mark.parametrize("shape", [(-1, 3), (1, 3, 1, 1), (-1, 1, 1, 3), (-1, -1), (1, -1, 1, 1)])
def test_shapes_of_scores(shape: tuple[int, ...]):
    pipeline = make(TensorSpec("y", DataType.FP32, shape))
    real = tuple(3 if size == -1 else size for size in (1, *shape[1:]))
    context = pipeline.prepare(PICTURE).context
    result = pipeline.finish({"y": np.arange(3, dtype=np.float32).reshape(real)}, context)
    assert [each.label for each in result.classes] == ["owl", "dog", "cat"]


def test_labels_must_fit():
    with pytest.raises(LabelsInvalid, match=r"3 names, .* 1000 classes; the two"):
        make(TensorSpec("y", DataType.FP32, (-1, 1000)))
    with pytest.raises(LabelsInvalid, match="does class 0 stand for the background"):
        make(TensorSpec("y", DataType.FP32, (-1, 4)))
    dynamic = make(TensorSpec("y", DataType.FP32, (-1, -1)))
    with pytest.raises(LabelsInvalid, match=r"3 names, .* 2 classes"):
        finish(dynamic, [1, 2])


def test_the_output_with_the_classes_is_found():
    features = TensorSpec("features", DataType.FP32, (-1, 64))
    maps = TensorSpec("maps", DataType.FP32, (-1, 8, 7, 7))
    logits = TensorSpec("y", DataType.FP32, (-1, 3))
    assert finish(make(maps, logits, labels=()), [1, 2, 3]).classes[0].class_id == 2
    assert finish(make(features, logits), [1, 2, 3]).classes[0].label == "owl"
    with pytest.raises(PipelineInvalid, match="several outputs may hold the classes"):
        make(features, logits, labels=())
    with pytest.raises(PipelineInvalid, match="needs an output with one number for each class"):
        make(maps)
