"""What would be wrong at the end of long work is said before it begins."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from enginecrate.cli.shared.extras import _MODULES
from running import ROOT, SAMPLES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own: a plan in it shows that work has begun."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("ENGINECRATE_CACHE_DIR", str(folder))
    return folder


def append(project: Path, text: str) -> None:
    manifest = project / "enginecrate.toml"
    manifest.write_text(manifest.read_text() + text)


def test_an_extra_is_what_pyproject_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extra, modules in _MODULES.items():
        declared = {text.partition(">=")[0] for text in project["optional-dependencies"][extra]}
        assert set(modules.values()) == declared


@pytest.mark.parametrize(
    "words",
    ["lock", "image build", "image dockerfile new", "release create --key none.key"],
)
def test_a_missing_extra(run, project: Path, cache: Path, monkeypatch, words: str):
    monkeypatch.setitem(sys.modules, "spdx_tools", None)
    refused = run(*words.split(), "--project", project)
    assert (refused.code, "EC1002" in refused.err) == (6, True)
    assert "spdx-tools is not installed; install it with: pip install 'enginecrate[image]'" in (
        refused.err
    )
    assert not cache.exists()


def golden(project: Path, accuracy: str) -> None:
    """Another table of accuracy."""
    manifest = project / "enginecrate.toml"
    text = manifest.read_text()
    assert 'accuracy = { golden = "golden/" }' in text
    manifest.write_text(text.replace('golden = "golden/"', accuracy))


def test_a_missing_package_for_the_truth(run, tmp_path: Path, cache: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    detector = Path(shutil.copytree(SAMPLES / "detection", tmp_path / "detector"))
    golden(detector, 'labelled = "golden/golden.json"')
    refused = run("build", "--project", detector)
    assert (refused.code, "enginecrate[accuracy]" in refused.err) == (6, True)
    assert not list(cache.glob("plans/*"))


@pytest.mark.parametrize("verb", ["build", "image build"])
def test_an_output_folder_that_cannot_be(run, project: Path, cache: Path, verb: str):
    (project / "build").write_text("a file")
    refused = run(*verb.split(), "--project", project)
    assert (refused.code, "build is not a folder" in refused.err) == (6, True)
    assert not list(cache.glob("plans/*"))


def test_golden_samples_that_cannot_be_written(run, project: Path, photos: Path, cache: Path):
    shutil.rmtree(project / "golden")
    (project / "golden").write_text("a file")
    refused = run("golden", "record", photos / "red.png", "--project", project)
    assert (refused.code, "is not a folder" in refused.err) == (6, True)
    assert not list(cache.glob("plans/*"))


def test_a_file_that_must_not_go_into_an_image(run, project: Path, cache: Path):
    append(project, '\n[image]\nfiles = ["isv.key"]\n')
    (project / "isv.key").write_text("a key")
    assert run("lock", "--versions-only", "--project", project).code == 0
    for words in (["--platform", "linux/s390x"], []):
        refused = run("image", "build", "--project", project, *words)
        assert refused.code == 2
    assert not list(cache.glob("plans/*"))
