"""NumPy's numbers in the results of a vendor's own class."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from enginecrate.errors import ImageUndecodable, PipelineModuleInvalid
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    TensorResult,
    TensorsResult,
)
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.pipelines.plain_result import plain_result
from enginecrate.values import PipelineSpec
from pictures import encoded, scene

BOX = (1.0, 2.0, 3.5, 4.0)


@pytest.mark.parametrize(
    "found",
    [
        Detection("cat", np.int64(3), np.float32(0.5), tuple(np.float32(BOX))),
        Detection("cat", np.float32(3), np.array(0.5), np.array(BOX, np.float32)),
        Detection(np.str_("cat"), np.uint8(3), np.float16(0.5), np.array([BOX])),
        Detection("cat", 3, 0.5, list(BOX)),  # type: ignore[arg-type]
    ],
    ids=["scalars", "arrays", "others", "list"],
)
def test_boxes_of_numpy_are_welcome(found: Detection):
    result = plain_result(DetectionResult(np.int64(20), np.int32(10), [found]), "Own")
    expected = DetectionResult(20, 10, [Detection("cat", 3, 0.5, BOX)])
    assert result == expected
    assert msgspec.json.encode(result) == msgspec.json.encode(expected)
    kinds = [type(corner) for corner in result.detections[0].box]
    assert kinds == [float] * 4


def test_classes_and_tensors_of_numpy_are_welcome():
    classes = [Classification("cat", np.int64(0), np.float32(0.25))]
    assert msgspec.json.encode(
        plain_result(ClassificationResult(4, 4, classes), "Own")
    ) == msgspec.json.encode(ClassificationResult(4, 4, [Classification("cat", 0, 0.25)]))
    tensor = TensorResult("y", "FP32", np.array([[1, 2]]).shape, np.array([[1.5, 2.5]], np.float32))  # type: ignore[arg-type]
    assert plain_result(TensorsResult([tensor]), "Own") == TensorsResult(
        [TensorResult("y", "FP32", [1, 2], [1.5, 2.5])]
    )


@pytest.mark.parametrize("wrong", [np.float32("nan"), float("inf"), -np.float64("inf")])
@pytest.mark.parametrize("part", ["score", "box"])
def test_what_json_cannot_hold_is_refused(wrong: Any, part: str):
    score, corner = (wrong, 1.0) if part == "score" else (0.5, wrong)
    found = [Detection("cat", 0, score, (0.0, 0.0, 1.0, corner))]
    with pytest.raises(PipelineModuleInvalid, match=rf"Own breaks .* {part} -?(nan|inf)"):
        plain_result(DetectionResult(4, 4, found), "Own")


def test_other_objects_stay_as_they_are():
    assert plain_result({"boxes": []}, "Own") == {"boxes": []}
    strange = DetectionResult(4, 4, [{"label": "cat"}])  # type: ignore[list-item]
    assert plain_result(strange, "Own") == strange


def test_a_class_of_ones_own_gives_plain_results(tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from enginecrate.pipelines.base import Classification, ClassificationResult\n"
        "class Own:\n"
        "    task = 'classification'\n"
        "    def __init__(self, spec, inputs, outputs, labels, limits): pass\n"
        "    def prepare(self, payload): pass\n"
        "    def finish(self, outputs, context):\n"
        "        found = Classification('a', np.int64(1), np.float32(0.5))\n"
        "        return ClassificationResult(np.int64(4), 4, [found])\n"
    )
    spec = PipelineSpec(task="classification", module="own:Own")
    pipeline = create_pipeline(spec, (), (), (), tmp_path)
    found = pipeline.finish({}, None)
    assert msgspec.json.encode(found) == (
        b'{"width":4,"height":4,"classes":[{"label":"a","class_id":1,"score":0.5}]}'
    )
    assert type(pipeline).__name__ == "Own"


def test_pillows_errors_become_ours(tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "import io\n"
        "from PIL import Image\n"
        "class Own:\n"
        "    task = 'classification'\n"
        "    def __init__(self, spec, inputs, outputs, labels, limits): pass\n"
        "    def prepare(self, payload):\n"
        "        if bytes(payload) == b'file': open('/nowhere/at/all')\n"
        "        return Image.open(io.BytesIO(bytes(payload))).convert('RGB')\n"
        "    def finish(self, outputs, context): pass\n"
    )
    spec = PipelineSpec(task="classification", module="own:Own")
    pipeline = create_pipeline(spec, (), (), (), tmp_path)
    whole = encoded(scene(), "PNG")
    assert pipeline.prepare(whole) is not None
    for damaged in (b"", b"not an image", whole[:-200]):
        with pytest.raises(ImageUndecodable, match="Pillow cannot decode the image"):
            pipeline.prepare(damaged)
    with pytest.raises(FileNotFoundError):  # the class's own fault
        pipeline.prepare(b"file")
