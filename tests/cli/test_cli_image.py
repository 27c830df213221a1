"""`enginecrate image`: what it refuses, and what it prints."""

import json
from pathlib import Path

from enginecrate.image.places.layout import Layout
from sample_image import TAG
from small_images import add_image


def test_without_a_lock_there_is_no_image(run, project: Path):
    shown = run("image", "build", "--project", project)
    assert (shown.code, shown.out) == (4, "")
    assert "write it with: enginecrate lock" in shown.err


def test_a_stale_lock_is_refused(run, project: Path):
    assert run("lock", "--versions-only", "--project", project).code == 0
    with (project / "enginecrate.toml").open("a") as file:
        file.write("# changed\n")
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
