"""`enginecrate image`: what it refuses, and what it prints."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from enginecrate.cli.image.requests import project_requests
from enginecrate.errors import RecipeInvalid
from enginecrate.image.image_requests import (
    RequestOptions,
    check_plans,
    make_requests,
    with_single_gpus,
)
from enginecrate.image.recipe.plans import ImagePlan
from enginecrate.image.resolve.images import image_section, inputs_digest
from enginecrate.image.transports.layout import Layout
from enginecrate.manifest import load_manifest
from enginecrate.settings import load_settings
from enginecrate.stacks.catalog import get_stack
from enginecrate.stacks.lock import Lock, LockedImage, make_lock, render_lock
from enginecrate.values import DataType, Digest, PlanInfo, Precision, TensorSpec, no_progress
from sample_image import TAG
from small_images import add_image


def test_without_a_lock_there_is_no_image(run, project: Path):
    shown = run("image", "build", "--project", project)
    assert (shown.code, shown.out) == (4, "")
    assert "write it with: enginecrate lock" in shown.err


def test_a_stale_lock_is_refused(run, project: Path):
    assert run("lock", "--versions-only", "--project", project).code == 0
    with (project / "enginecrate.toml").open("a") as file:
        file.write('\n[image]\ndebs = ["libgomp1"]\n')
    shown = run("image", "build", "--project", project)
    assert shown.code == 4
    assert "EC1107" in shown.err


def test_a_lock_without_images_says_what_to_do(run, project: Path):
    assert run("lock", "--versions-only", "--project", project).code == 0
    for words in ([], ["--stack", "ort-cpu"]):
        shown = run("image", "build", "--project", project, *words)
        assert shown.code == 2
        assert "enginecrate lock --stack ort-cpu" in shown.err
    assert not (project / "build").exists()


def test_a_stack_that_is_no_target_is_a_mistake(run, project: Path):
    assert run("lock", "--versions-only", "--project", project).code == 0
    shown = run("image", "build", "--project", project, "--stack", "ort-cuda130")
    assert shown.code == 2
    assert "targets.stacks" in shown.err


def test_show_lists_layers_and_needs(run, built_image: Path):
    shown = run("image", "show", f"oci:{built_image}:{TAG}")
    assert shown.code == 0
    for words in ("linux/amd64", "Python packages", "cpu:fp32", "MB to pull"):
        assert words in shown.out
    listed = json.loads(run("image", "show", f"oci:{built_image}:{TAG}", "--json").out)
    (platform,) = listed["platforms"]
    assert platform["needs"]["engines"] == ["cpu:fp32"]
    assert platform["config"]["User"] == "65532:65532"


def test_show_of_an_image_of_others(run, tmp_path: Path):
    add_image(Layout(tmp_path, create=True), ["v1"])
    listed = json.loads(run("image", "show", f"oci:{tmp_path}:v1", "--json").out)
    assert listed["platforms"][0]["needs"] is None


def test_an_image_that_is_not_there(run, tmp_path: Path):
    shown = run("image", "show", f"oci:{tmp_path}:v1")
    assert shown.code == 3


def test_a_context_never_overwrites(run, project: Path, tmp_path: Path):
    assert run("lock", "--versions-only", "--project", project).code == 0
    shown = run("image", "dockerfile", tmp_path, "--project", project)
    assert shown.code == 4
    assert "exists" in shown.err


def lock_for(project: Path, *stacks: str) -> Lock:
    """Make these the project's stacks, with a lock that has an image of each for linux/amd64."""
    manifest = project / "enginecrate.toml"
    text = manifest.read_text()
    assert 'stacks = ["ort-cpu"]' in text
    targets = f'stacks = {list(stacks)}\ngpus = ["A10", "L4"]'
    manifest.write_text(text.replace('stacks = ["ort-cpu"]', targets))
    file = load_manifest(project)
    section = image_section(file.manifest)
    images = [
        LockedImage(
            stack=name, platform="linux/amd64", base="debian-12", interpreter="3.11.2",
            compression="zstd 1.5.7 level 12", debs=(), wheels=(),
            inputs=inputs_digest(get_stack(name), "linux/amd64", section),
        )
        for name in stacks
    ]  # fmt: skip
    lock = make_lock(file, images)
    (project / "enginecrate.lock").write_bytes(render_lock(lock))
    return lock


def test_an_image_of_one_gpu_needs_a_stack_with_such_engines(run, project: Path):
    lock_for(project, "ort-cpu", "ort-cuda130")
    shown = run("image", "build", "--project", project, "--gpu", "A10")
    assert shown.code == 2
    assert "no stack here has such (ort-cpu, ort-cuda130)" in shown.err


def test_a_gpu_without_an_engine_is_told_before_anything_is_written(run, project: Path):
    lock_for(project, "ort-cpu", "trt1016-cuda130")
    shown = run("image", "build", "--project", project, "--gpu", "H100")
    assert shown.code == 2
    assert "no engine of the stack trt1016-cuda130 for sm90 on linux/amd64" in shown.err
    assert not (project / "build" / "image").exists()


def test_stacks_without_a_gpu_are_left_out_of_images_of_one_gpu(project: Path, tmp_path: Path):
    lock = lock_for(project, "ort-cpu", "trtrtx17-cuda130")
    stacks, notes = with_single_gpus(["ort-cpu", "trtrtx17-cuda130"])
    assert stacks == ["trtrtx17-cuda130"]
    assert len(notes) == 1
    assert "no image of ort-cpu" in notes[0]
    plan = write_plan(tmp_path / "plan", "sm86")
    file = load_manifest(project)
    a10, l4 = (
        replace(one, plans=(plan,))
        for one in make_requests(file, lock, stacks, RequestOptions(gpus=["A10", "L4"]))
    )
    assert (a10.stack, a10.device, l4.device) == ("trtrtx17-cuda130", "sm86", "sm89")
    check_plans(a10)
    with pytest.raises(RecipeInvalid, match="there is one for sm86"):
        check_plans(l4)


def write_plan(folder: Path, device: str) -> ImagePlan:
    """A plan of TensorRT-RTX, as a build leaves it in the cache."""
    folder.mkdir()
    (folder / "plan.engine").write_bytes(b"engine")
    spec = TensorSpec("x", DataType.FP32, (-1, 3))
    info = PlanInfo(
        backend="tensorrt_rtx", backend_version="1.7.1", tool_version="1",
        stack="trtrtx17-cuda130", platform="linux/amd64", device=device, model_digest="m",
        graph_digest="g", plan_digest=str(Digest.of(b"engine")), plan_bytes=6,
        precision=Precision.FP16, inputs=(spec,), outputs=(spec,), max_batch=1,
    )  # fmt: skip
    (folder / "plan.json").write_bytes(msgspec.json.encode(info))
    return ImagePlan.read(folder)


def test_a_base_that_no_stack_stands_on_is_a_mistake(run, project: Path):
    lock_for(project, "ort-cpu")
    base = f"oci:none@sha256:{'0' * 64}"
    shown = run("image", "build", "--project", project, "--base-image", base)
    assert shown.code == 2
    assert "--base-image is for stacks that stand on an image of their vendor" in shown.err


def test_why_no_commit_is_named_is_among_the_notes(project: Path, tmp_path: Path):
    lock_for(project, "ort-cpu")
    settings = load_settings(flags={"cache_dir": str(tmp_path / "cache")}, environment={})
    subprocess.run(["git", "init", "--quiet", project], check=True)
    (request,), notes = project_requests(project, settings, RequestOptions(), no_progress)
    assert request.origin.revision == ""
    assert request.origin.note in notes
    assert "are not committed" in request.origin.note
    (_,), notes = project_requests(project, settings, RequestOptions(revision="abc"), no_progress)
    assert not [one for one in notes if "commit" in one]


@pytest.mark.parametrize(
    "base",
    ["registry.example.com/x:1.0", "registry.example.com/x", "oci:v:r36", "oci:v", "jetpack:6"],
)
def test_a_base_floats_as_little_on_the_command_line(run, project: Path, base: str):
    lock_for(project, "ort-cpu")
    shown = run("image", "build", "--project", project, "--base-image", base)
    assert shown.code == 2
    assert "--base-image: " in shown.err
    assert "@sha256:..." in shown.err
