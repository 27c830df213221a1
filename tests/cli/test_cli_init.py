import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from enginecrate.builder.scaffold.scaffold import app_name_from
from enginecrate.manifest import check_files, load_manifest

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.mark.parametrize("sample", ["detection", "classification"])
def test_a_sample_is_copied_under_the_apps_own_name(run, sample: str):
    outcome = run("init", "My_App 2", "--sample", sample)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "enginecrate build" in outcome.out
    assert "unproven" not in outcome.out
    made = Path("My_App 2")
    file = load_manifest(made)
    check_files(file)
    assert file.manifest.app.name == "my-app-2"
    for original in (SAMPLES / sample).rglob("*"):
        if original.is_file() and original.name != "enginecrate.toml":
            copy = made / original.relative_to(SAMPLES / sample)
            assert copy.read_bytes() == original.read_bytes()


def test_the_detector_is_the_default(run):
    assert run("init", "x").code == 0
    assert load_manifest(Path("x")).manifest.pipeline.task == "detection"


def test_the_template_holds_a_pipeline_class(run):
    outcome = run("init", "car-park", "--template", "custom", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "project": str(Path("car-park").absolute()),
        "app": "car-park",
        "task": "detection",
        "proven": True,
        "reasons": [],
    }
    assert "class Inspection" in Path("car-park/inspection.py").read_text()
    assert load_manifest(Path("car-park")).manifest.pipeline.module == "inspection:Inspection"


def test_a_project_around_a_model_says_what_was_guessed(run, tiny_model: Path):
    outcome = run("init", "colours", "--model", tiny_model)
    assert outcome.code == 0
    assert "guessed" in outcome.out
    assert "unproven" in outcome.out
    assert "enginecrate golden record" in outcome.out
    file = load_manifest(Path("colours"))
    check_files(file)
    assert file.manifest.pipeline.task == "classification"
    assert (file.root / file.manifest.model.path).read_bytes() == tiny_model.read_bytes()


def test_the_task_may_be_given(run, tiny_model: Path):
    outcome = run("init", "x", "--model", tiny_model, "--task", "tensors", "--json")
    assert json.loads(outcome.out)["task"] == "tensors"
    assert json.loads(outcome.out)["proven"] is False
    assert load_manifest(Path("x")).manifest.pipeline.task == "tensors"


def test_an_app_of_tensors_is_told_about_tensors(run, tiny_model: Path):
    outcome = run("init", "x", "--model", tiny_model, "--task", "tensors")
    readme = (Path("x") / "golden" / "README.md").read_text()
    for text in (outcome.out, readme):
        assert "enginecrate golden record TENSORS.npz..." in text
        assert "PHOTO" not in text


def test_external_data_is_copied(run, tmp_path: Path):
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    source = tmp_path / "a model (v2).onnx"
    onnx.save(model, source, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert run("init", "x", "--model", source).code == 0
    assert Path("x/models/weights.bin").stat().st_size == 64 * 64 * 4
    copied = onnx.load(Path("x") / load_manifest(Path("x")).manifest.model.path)
    assert copied.graph.initializer[0].raw_data == weights.raw_data


def test_nothing_is_left_behind_when_it_fails(run, tiny_model: Path, tmp_path: Path):
    assert run("init", "x", "--model", tiny_model, "--labels", tmp_path / "none").code != 0
    assert list(Path().iterdir()) == []


def test_what_exists_is_never_touched(run):
    Path("x").mkdir()
    Path("x/notes.txt").write_text("mine")
    assert run("init", "x").code == 4
    assert [path.name for path in Path("x").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("kind", ["file", "dangling link", "here"])
def test_what_exists_is_refused(run, kind: str):
    target = Path("." if kind == "here" else "x")
    if kind == "file":
        target.write_text("mine")
    elif kind == "dangling link":
        target.symlink_to("nowhere")
    before = sorted(Path().iterdir())
    assert run("init", target, "--app-name", "x").code == 4
    assert sorted(Path().iterdir()) == before


def test_an_empty_folder_and_missing_parents_are_fine(run):
    Path("empty").mkdir()
    assert run("init", "empty").code == 0
    assert run("init", "a/b/c").code == 0
    assert Path("a/b/c/enginecrate.toml").is_file()


def test_the_folder_is_as_open_as_any_other(run):
    Path("other").mkdir()
    assert run("init", "x").code == 0
    assert Path("x").stat().st_mode == Path("other").stat().st_mode


def test_two_at_once_give_one_whole_project():
    program = Path(sys.executable).with_name("enginecrate")
    running = [
        subprocess.Popen(
            [program, "init", "x", "--sample", sample],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for sample in ("detection", "classification")
    ]
    assert sorted(process.wait(timeout=60) for process in running) == [0, 4]
    assert [path.name for path in Path().iterdir()] == ["x"]
    check_files(load_manifest(Path("x")))


@pytest.mark.parametrize(
    ("text", "name"),
    [("ai-inspection", "ai-inspection"), ("My_App 2", "my-app-2"), ("YOLO.v8", "yolo-v8")],
)
def test_app_names(text: str, name: str):
    assert app_name_from(text) == name


def test_the_manifest_of_a_model_is_tidy(run, tiny_model: Path):
    assert run("init", "x", "--model", tiny_model).code == 0
    table = tomllib.loads(Path("x/enginecrate.toml").read_text())
    assert list(table) == ["app", "model", "pipeline", "precision", "targets", "serve"]
    assert {"color", "resize", "mean", "std", "layout"} <= set(table["pipeline"])
