import os
import re
from pathlib import Path

import numpy as np
import pytest

from enginecrate.builder.graphs.graph_inputs import GraphInputs
from enginecrate.builder.graphs.typed_graphs import obtain_graph
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.builder.ladder.steps import ensure_plan
from enginecrate.builder.plans.plan import ObtainedPlan, obtain_plan
from enginecrate.builder.plans.targets import choose_targets
from enginecrate.builder.project.project import Project, open_project
from enginecrate.errors import (
    CacheUnusable,
    LabelsInvalid,
    ManifestInvalid,
    ModelInvalid,
    StackUnknown,
    StackUnsupported,
)
from enginecrate.pipelines.base import ClassificationResult
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress
from tiny_models import color_classifier, save
from tiny_project import BLUE, GREEN, RED, make_project, photo, settings


def scores(root: Path, at: Settings) -> np.ndarray:
    predictor = open_predictor(root, at)
    try:
        result = predictor.predict(photo(RED))
    finally:
        predictor.close()
    assert isinstance(result, ClassificationResult)
    return np.array([entry.score for entry in sorted(result.classes, key=lambda c: c.class_id)])


def obtain(project: Project, at: Settings, progress: Progress = no_progress) -> ObtainedPlan:
    """The plan of the project's first target."""
    target = choose_targets(project.manifest)[0][0]
    inputs = GraphInputs(project, at, progress)
    graph = obtain_graph(inputs, target.precision, target.scheme, at, progress)
    return obtain_plan(project, target, graph, at, progress)


def test_the_app_answers(project: Path, shared_cache: Settings):
    predictor = open_predictor(project, shared_cache)
    for color, label in ((RED, "red"), (GREEN, "green"), (BLUE, "blue")):
        result = predictor.predict(photo(color))
        assert isinstance(result, ClassificationResult)
        assert (result.width, result.height) == (24, 16)
        assert result.classes[0].label == label
    predictor.close()
    predictor.close()


def test_the_second_time_the_plan_comes_from_the_cache(project: Path, tmp_path: Path):
    at = settings(tmp_path / "cache")
    steps: list[str] = []
    opened = open_project(project, at)
    first = obtain(opened, at, lambda step, done, total: steps.append(step))
    assert not first.cached
    assert "simplify the graph" in steps
    steps.clear()
    second = obtain(opened, at, lambda step, done, total: steps.append(step))
    assert second.cached
    assert second.plan == first.plan
    assert steps == []  # neither simplified nor built
    assert first.plan.info.options["simplifier"].startswith("enginecrate passes ")


def test_other_weights_under_the_same_names_and_shapes_miss_the_cache(
    project: Path, tmp_path: Path
):
    at = settings(tmp_path / "cache")
    before, plan = scores(project, at), ensure_plan(open_project(project, at), at)
    path = project / "colors.onnx"
    status = path.stat()
    save(color_classifier(turn=1), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    swapped = obtain(open_project(project, at), at)
    assert not swapped.cached
    assert swapped.plan.path != plan.path
    assert np.abs(scores(project, at) - before).max() > 1e-3
    save(color_classifier(), path)
    back = obtain(open_project(project, at), at)
    assert back.cached
    assert back.plan == plan


def test_profiles_are_part_of_the_plan(tmp_path: Path):
    profile = "\n[[model.profiles]]\nimage = [[1, 3, 8, 8], [4, 3, 8, 8], [16, 3, 8, 8]]\n"
    at = settings(tmp_path / "cache")
    root = make_project(tmp_path / "p", extra=profile)
    plan = ensure_plan(open_project(root, at), at)
    assert plan.info.max_batch == 16
    assert plan.info.profiles == [{"image": ((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8))}]
    without = ensure_plan(open_project(make_project(tmp_path / "q"), at), at)
    assert without.info.max_batch == 32
    assert without.path != plan.path


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("imge = [[1,3,8,8],[1,3,8,8],[1,3,8,8]]", r"no input 'imge'; did you mean 'image'"),
        ("image = [[1,3,8,9],[1,3,8,9],[1,3,8,9]]", r"\(1, 3, 8, 9\)|\[1, 3, 8, 9\] does not fit"),
        ("image = [[1,3,8],[1,3,8],[1,3,8]]", r"does not fit the input image FP32"),
    ],
)
def test_profiles_must_fit_the_model(
    tmp_path: Path, shared_cache: Settings, profile: str, message: str
):
    root = make_project(tmp_path / "p", extra=f"\n[[model.profiles]]\n{profile}\n")
    with pytest.raises(ManifestInvalid, match=message) as caught:
        open_project(root, shared_cache)
    assert "model.profiles[0]" in str(caught.value)


def targets(root: Path, at: Settings) -> tuple[list[str], list[str]]:
    """The targets, and what cannot be one, as words."""
    buildable, others = choose_targets(open_project(root, at).manifest)
    return [str(one) for one in buildable], [f"{one.target}: {one.reason}" for one in others]


def test_targets_are_stacks_times_gpus_times_precisions(tmp_path: Path, shared_cache: Settings):
    wanted = (
        '\n[targets]\nstacks = ["trtrtx17-cuda130", "ort-cpu", "ort-cpu"]\n'
        'gpus = ["T4", "L4", "RTX 4090", "H100"]\nprecisions = ["fp16", "bf16"]\n'
    )
    buildable, others = targets(make_project(tmp_path / "p", extra=wanted), shared_cache)
    assert buildable == [
        "trtrtx17-cuda130, fp32 for sm75",
        "trtrtx17-cuda130, fp32 for sm89",  # two of the GPUs have this compute capability
        "trtrtx17-cuda130, fp16 for sm75",
        "trtrtx17-cuda130, fp16 for sm89",
        "trtrtx17-cuda130, bf16 for sm89",
        "trtrtx17-cuda130, fp32 for cpu",
        "ort-cpu, fp32 for cpu",
        "ort-cpu, fp16 for cpu",
    ]
    foreign, without_arithmetic, elsewhere = others
    assert foreign.startswith("trtrtx17-cuda130 for H100: H100 has compute capability 9.0, and")
    assert re.match(
        r"trtrtx17-cuda130, bf16 for sm75: .* do not calculate in bf16", without_arithmetic
    )
    assert elsewhere.startswith("ort-cpu, bf16: the stack does not run bf16")


def test_a_precision_that_the_stack_does_not_have(tmp_path: Path, shared_cache: Settings):
    root = make_project(tmp_path / "p", extra='\n[precision]\nmode = "bf16"\n')
    with pytest.raises(StackUnsupported, match=r"ort-cpu, bf16: the stack does not run bf16"):
        targets(root, shared_cache)


def test_a_stack_that_nobody_knows(tmp_path: Path, shared_cache: Settings):
    root = make_project(tmp_path / "p", extra='\n[targets]\nstacks = ["ort-cp"]\n')
    with pytest.raises(StackUnknown, match=r"'ort-cp'; did you mean 'ort-cpu'\?"):
        targets(root, shared_cache)


def test_labels_that_do_not_fit(project: Path, shared_cache: Settings):
    (project / "labels.txt").write_text("red\ngreen\n")
    with pytest.raises(LabelsInvalid):
        open_project(project, shared_cache)


def test_files_that_are_missing_or_wrong(project: Path, shared_cache: Settings):
    (project / "labels.txt").unlink()
    with pytest.raises(ManifestInvalid, match=r"labels\.txt"):
        open_project(project, shared_cache)
    make_project(project)
    (project / "colors.onnx").write_bytes(b"")
    with pytest.raises(ModelInvalid, match="is empty"):
        open_project(project, shared_cache)


def test_a_cache_that_cannot_be_used(project: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    at = settings(tmp_path / "file")
    with pytest.raises(CacheUnusable):
        ensure_plan(open_project(project, at), at)
