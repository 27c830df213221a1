import re
import sys
from pathlib import Path

import pytest

from enginecrate.errors import PipelineInvalid, PipelineModuleInvalid
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.classification import ClassificationPipeline
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.pipelines.tensors import TensorsPipeline
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from pictures import encoded, scene

IMAGE = TensorSpec("image", DataType.FP32, (-1, 3, 64, 64))
SCORES = TensorSpec("y", DataType.FP32, (-1, 2))

OWN = """\
class Own:
    task = "classification"

    def __init__(self, spec, inputs, outputs, labels, limits):
        self.given = (spec, inputs, outputs, labels, limits)

    def prepare(self, payload):
        return None

    def finish(self, outputs, context):
        return None
"""


def load(root: Path, module: str, **files: str):
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    spec = PipelineSpec(task="classification", module=module)
    return create_pipeline(spec, [IMAGE], [SCORES], ["a", "b"], root)


def test_built_in(tmp_path: Path):
    yolo = TensorSpec("y", DataType.FP32, (-1, 6, 84))  # 4 + 2 channels, 84 boxes of 64x64
    for spec, output, kind in (
        (PipelineSpec(task="classification"), SCORES, ClassificationPipeline),
        (PipelineSpec(task="detection", decoder="yolo"), yolo, DetectionPipeline),
        (PipelineSpec(task="tensors"), SCORES, TensorsPipeline),
    ):
        pipeline = create_pipeline(spec, [IMAGE], [output], ["a", "b"], tmp_path)
        assert isinstance(pipeline, kind)
        assert pipeline.task == spec.task


def test_limits_reach_the_pipeline(tmp_path: Path):
    spec = PipelineSpec(task="classification")
    picture = encoded(scene(), "PNG")
    pipeline = create_pipeline(spec, [IMAGE], [SCORES], [], tmp_path, Limits(max_pixels=100))
    with pytest.raises(Exception, match="limit of 100 pixels"):
        pipeline.prepare(picture)


@pytest.mark.parametrize("module", ["inspection:Own", "inspection.py:Own", "./inspection:Own"])
def test_own_class(tmp_path: Path, module: str):
    pipeline = load(tmp_path, module, inspection=OWN)
    assert pipeline.given[1:] == ([IMAGE], [SCORES], ["a", "b"], Limits())
    assert pipeline.given[0].module == module


def test_own_class_in_a_folder_and_with_a_dash(tmp_path: Path):
    assert load(tmp_path, "app/my-own:Own", **{"app__my-own": OWN}).task == "classification"


def test_files_beside_it(tmp_path: Path):
    pipeline = load(
        tmp_path,
        "inspection:Own",
        inspection="from .names import NAME\n" + OWN + "    name = NAME\n",
        names="NAME = 'one'\n",
    )
    assert pipeline.name == "one"


def test_an_import_within_a_method_works_later(tmp_path: Path):
    later = OWN.replace("return None", "from .names import NAME; return NAME", 1)
    pipeline = load(tmp_path, "inspection:Own", inspection=later, names="NAME = 'late'\n")
    assert pipeline.prepare(b"") == "late"


def test_two_projects_do_not_see_each_other(tmp_path: Path):
    path = list(sys.path)
    pipelines = [
        load(
            tmp_path / name,
            "inspection:Own",
            inspection="from .names import NAME\n" + OWN + "    name = NAME\n",
            names=f"NAME = {name!r}\n",
        )
        for name in ("first", "second")
    ]
    assert [pipeline.name for pipeline in pipelines] == ["first", "second"]
    assert sys.path == path
    assert "inspection" not in sys.modules


def test_an_edited_file_is_loaded_afresh(tmp_path: Path):
    assert not hasattr(load(tmp_path, "inspection:Own", inspection=OWN), "name")
    again = load(tmp_path, "inspection:Own", inspection=OWN + "    name = 'new'\n")
    assert again.name == "new"


@pytest.mark.parametrize("module", ["../outside:Own", "/etc/passwd:Own", "a/../../outside:Own"])
def test_nothing_outside_the_project(tmp_path: Path, module: str):
    (tmp_path / "outside.py").write_text(OWN)
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(PipelineModuleInvalid, match="leaves the project folder"):
        load(project, module)


def test_a_link_out_of_the_project(tmp_path: Path):
    (tmp_path / "outside.py").write_text(OWN)
    project = tmp_path / "project"
    project.mkdir()
    (project / "inside.py").symlink_to("../outside.py")
    with pytest.raises(PipelineModuleInvalid, match="leaves the project folder"):
        load(project, "inside:Own")


def test_missing_file_and_class(tmp_path: Path):
    with pytest.raises(PipelineModuleInvalid, match=r"no inspektion\.py .* 'inspection'\?"):
        load(tmp_path, "inspektion:Own", inspection=OWN)
    with pytest.raises(PipelineModuleInvalid, match=r"no class 'Ow'; did you mean 'Own'\?"):
        load(tmp_path, "inspection:Ow")
    with pytest.raises(PipelineModuleInvalid, match="its classes are: none"):
        load(tmp_path, "empty:Own", empty="Own = 3\n")
    with pytest.raises(PipelineModuleInvalid, match="'app/inspection:Pipeline'"):
        load(tmp_path, "app.inspection:Own")


FAULTS = {
    "syntax": ("x = (\n", r"SyntaxError: .* \(own\.py, line 1: x = \("),
    "raises": (
        "def f():\n    return 1 / 0\n\nf()\n",
        r"ZeroDivisionError: division by zero \(own\.py, line 2, in f: return 1 / 0\)",
    ),
    "not installed": (
        "import not_installed_here\n",
        r"No module named 'not_installed_here' \(own\.py, line 1.*install not_installed_here",
    ),
    "absolute import": ("import names\n", r"write `from \.names import \.\.\.`"),
    "exits": ("raise SystemExit(3)\n", r"SystemExit: 3 \(own\.py, line 1"),
    "not utf-8": ("# coding: ascii\nx = 'é'\n", "SyntaxError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_import_that_fails_shows_the_line(tmp_path: Path, fault: str):
    text, words = FAULTS[fault]
    before = set(sys.modules)
    with pytest.raises(PipelineModuleInvalid, match=words):
        load(tmp_path, "own:Own", own=text, names="NAME = 1\n")
    assert not {name for name in set(sys.modules) - before if "enginecrate_project" in name}


def test_a_constructor_that_fails_shows_the_line(tmp_path: Path):
    text = OWN.replace("self.given = ", "self.x = inputs[9]; self.given = ")
    with pytest.raises(PipelineModuleInvalid) as raised:
        load(tmp_path, "own:Own", own=text)
    assert "IndexError: list index out of range (own.py, line 5, in __init__" in str(raised.value)
    with pytest.raises(PipelineModuleInvalid, match=re.escape("(spec, inputs, outputs, labels,")):
        load(tmp_path, "short:Own", short="class Own:\n    pass\n")


def test_our_own_errors_pass_through_a_constructor(tmp_path: Path):
    own = OWN.replace("self.given = ", "ImageInput.create(spec, outputs, limits); self.given = ")
    text = "from enginecrate.pipelines.image_input import ImageInput\n" + own
    with pytest.raises(PipelineInvalid, match="4 dimensions"):
        load(tmp_path, "own:Own", own=text)


def test_what_the_class_lacks(tmp_path: Path):
    text = "class Own:\n    def __init__(self, *given): pass\n    def finish(self): pass\n"
    with pytest.raises(PipelineModuleInvalid, match=r"lacks prepare\(\), task \(a text"):
        load(tmp_path, "own:Own", own=text)
