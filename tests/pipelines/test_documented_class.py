"""The classes and steps of docs/pipelines.md work as they are printed there."""

import re
import tomllib
from pathlib import Path

import msgspec
import numpy as np

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.contract import check_contract
from enginecrate.pipelines.image import decode_image, perspective_crop, resize_image, to_tensor
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if holding in text]
    return found


def test_the_text_detector_keeps_the_contract(tmp_path: Path):
    (tmp_path / "pipeline.py").write_text(block("python", "class TextBoxes"), encoding="utf-8")
    section = tomllib.loads(block("toml", "TextBoxes"))["pipeline"]
    spec = msgspec.convert(section, PipelineSpec)
    inputs = [TensorSpec("x", DataType.FP32, (-1, 3, -1, -1))]
    outputs = [TensorSpec("map", DataType.FP32, (-1, 1, -1, -1))]
    pipeline = create_pipeline(spec, inputs, outputs, [], tmp_path)

    def run(tensors):
        array = tensors["x"]
        scores = np.zeros((1, 1, *array.shape[2:]), np.float32)
        scores[0, 0, 64:128, 128:256] = 0.75
        return {"map": scores}

    photo = encoded(scene(92, 92), "PNG")
    assert pipeline.prepare(photo).tensors["x"].shape == (1, 3, 736, 736)
    (found,) = check_contract(pipeline, photo, inputs, run).detections
    assert found.box == (16, 8, 32, 16)
    assert (found.label, found.score) == ("text", 0.75)


def test_the_single_steps():
    names = {"payload": encoded(scene(200, 100), "PNG"), "limits": Limits()}
    helpers = (decode_image, perspective_crop, resize_image, to_tensor)
    names |= {helper.__name__: helper for helper in helpers}
    exec(block("python", "perspective_crop(pixels"), names)
    assert {name: array.shape for name, array in names["tensors"].items()} == {
        "whole": (1, 3, 224, 224),
        "plate": (1, 3, 32, 128),
    }
