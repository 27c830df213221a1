"""A pipeline that keeps every promise, and for each promise one that breaks it."""

import io
import itertools
import threading

import msgspec
import numpy as np
import pytest

from enginecrate.errors import ImageUndecodable, PipelineInvalid, PipelineModuleInvalid
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    DetectionResult,
    Limits,
    Prepared,
)
from enginecrate.pipelines.classification import ClassificationPipeline
from enginecrate.pipelines.contract import check_contract
from enginecrate.pipelines.tensors import TensorsPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

INPUT = TensorSpec("image", DataType.FP32, (-1, 3, 8, 8))
OUTPUT = TensorSpec("y", DataType.FP32, (-1, 2))
PICTURE = encoded(scene(48, 32), "PNG")


def model(tensors):
    assert tensors["image"].shape == (1, 3, 8, 8)
    total = tensors["image"].mean() / 255
    return {"y": np.array([[total, 1 - total]], np.float32)}


class Good(ClassificationPipeline):
    def __init__(self) -> None:
        spec = PipelineSpec(task="classification")
        super().__init__(spec, [INPUT], [OUTPUT], ["a", "b"], Limits())


def check(pipeline, payload: bytes = PICTURE):
    return check_contract(pipeline, payload, [INPUT], model)


def test_a_good_one():
    result = check(Good())
    assert isinstance(result, ClassificationResult)
    assert len(result.classes) == 2


def test_the_pipeline_of_tensors():
    buffer = io.BytesIO()
    np.savez(buffer, image=np.ones((1, 3, 8, 8), np.float32))
    spec = PipelineSpec(task="tensors")
    pipeline = TensorsPipeline(spec, [INPUT], [OUTPUT], (), Limits())
    assert check(pipeline, buffer.getvalue()).outputs[0].shape == [1, 2]


def prepared(change):
    """A pipeline whose tensor is changed."""

    class Bad(Good):
        def prepare(self, payload):
            good = super().prepare(payload)
            return Prepared({"image": change(good.tensors["image"])}, good.context)

    return Bad()


def finished(change):
    """A pipeline whose classes are changed."""

    class Bad(Good):
        def finish(self, outputs, context):
            good = super().finish(outputs, context)
            return msgspec.structs.replace(good, classes=change(good.classes))

    return Bad()


class WrongTask(Good):
    task = "guessing"


class PreparesNothing(Good):
    def prepare(self, payload):
        return None


class PreparesList(Good):
    def prepare(self, payload):
        return Prepared([1], None)


class PreparesOther(Good):
    def prepare(self, payload):
        good = super().prepare(payload)
        return Prepared({"picture": good.tensors["image"]}, good.context)


class FinishesOther(Good):
    def finish(self, outputs, context):
        return DetectionResult(1, 1, [])


class FinishesDict(Good):
    def finish(self, outputs, context):
        return {"classes": []}


class Fails(Good):
    def finish(self, outputs, context):
        return outputs["z"]


class ChangesOutputs(Good):
    def finish(self, outputs, context):
        outputs["y"] *= 2
        return super().finish(outputs, context)


class Counts(Good):
    def __init__(self) -> None:
        super().__init__()
        self.calls = itertools.count()

    def finish(self, outputs, context):
        good = super().finish(outputs, context)
        return msgspec.structs.replace(good, width=next(self.calls))


class Remembers(Good):
    """Keeps the context in itself: right alone, wrong among threads."""

    def __init__(self) -> None:
        super().__init__()
        self.together = threading.Barrier(2)
        self.main = threading.current_thread()

    def prepare(self, payload):
        good = super().prepare(payload)
        self.owner = threading.current_thread()
        if self.owner is not self.main:
            self.together.wait(10)
        return good

    def finish(self, outputs, context):
        good = super().finish(outputs, context)
        mine = self.owner is threading.current_thread()
        if threading.current_thread() is not self.main:
            self.together.wait(10)
        return good if mine else msgspec.structs.replace(good, width=0)


class NeedsBytes(Good):
    def prepare(self, payload):
        payload.startswith(b"\x89PNG")
        return super().prepare(payload)


class ShowsGarbage(Good):
    def prepare(self, payload):
        if len(payload) < 300:
            raise KeyError("no such file type")
        return super().prepare(payload)


noise = np.random.default_rng()

BROKEN = {
    "task": (WrongTask, "task is 'guessing'; it must be one of classification, detection"),
    "nothing": (PreparesNothing, r"prepare returned nothing \(None\); it must return Prepared"),
    "list": (PreparesList, "tensors of type list; they must be a dict"),
    "names": (PreparesOther, r"tensors for \['picture'\]; the model's inputs are \['image'\]"),
    "no array": (lambda: prepared(lambda a: a.tolist()), "gave list for image .* NumPy array"),
    "dtype": (lambda: prepared(np.float64), r"gave float64 .* array.astype\('float32'\)"),
    "no batch": (lambda: prepared(lambda a: a[0]), r"shape \[3, 8, 8\] .* must be \[1, 3, 8, 8\]"),
    "batch": (lambda: prepared(lambda a: a.repeat(2, 0)), "a batch of 1"),
    "chance": (
        lambda: prepared(lambda a: a + noise.random(a.shape, np.float32)),
        "another tensor 'image' for the same payload; it must not depend on chance",
    ),
    "other result": (FinishesOther, "DetectionResult; for task 'classification' it must be Class"),
    "dict": (FinishesDict, "finish returned dict"),
    "fails": (
        Fails,
        r"finish failed: KeyError: 'z' \(test_pipeline_contract\.py, line \d+, in fin",
    ),
    "changes": (ChangesOutputs, "finish changed the outputs .* work on a copy"),
    "memory": (Counts, "finish gave another result for the same outputs;"),
    "threads": (Remembers, "another result for the same outputs from two threads"),
    "memoryview": (NeedsBytes, "prepare failed: AttributeError: 'memoryview'"),
    "garbage": (ShowsGarbage, "payload that is no sample with KeyError: .*raise one of"),
    "numpy": (
        lambda: finished(lambda classes: [Classification("a", 0, np.complex64(0.5))]),
        r"cannot be written as JSON .*complex.* use numbers \(also NumPy's\)",
    ),
    "nan": (
        lambda: finished(lambda classes: [Classification("a", 0, float("nan"))]),
        "finish gave a class the score nan, which JSON cannot hold: .* np.isfinite",
    ),
    "types": (
        lambda: finished(lambda classes: [Classification(7, 0, 0.5)]),
        r"Expected `str`, got `int` - at `\$\.classes\[0\]\.label`",
    ),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise(promise: str):
    make, words = BROKEN[promise]
    with pytest.raises(PipelineModuleInvalid, match=words) as raised:
        check(make())
    assert "breaks its contract" in str(raised.value)


def test_our_own_errors_pass():
    with pytest.raises(ImageUndecodable):
        check(Good(), PICTURE[:-30])

    class Refuses(Good):
        def finish(self, outputs, context):
            raise PipelineInvalid("no")

    with pytest.raises(PipelineInvalid, match="no"):
        check(Refuses())
