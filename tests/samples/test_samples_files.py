"""The samples ship with everything that a reader of their licences needs."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from enginecrate.builder.scaffold.scaffold import sample_files
from enginecrate.manifest import check_files, load_manifest

SAMPLES = Path(__file__).parents[2] / "samples"
COMPLETE = ["detection", "classification"]


@pytest.mark.parametrize("sample", COMPLETE)
def test_the_manifest_is_valid_and_its_files_are_there(sample: str):
    check_files(load_manifest(SAMPLES / sample))


@pytest.mark.parametrize("sample", COMPLETE)
def test_every_file_is_accounted_for(sample: str):
    """Each model, label file, photo and licence text is listed with its digest."""
    folder = SAMPLES / sample
    page = (folder / "PROVENANCE.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"(?m)^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", page))
    actual = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for part in ("models", "golden", "photos", "calibration", "LICENSES")
        for file in (folder / part).iterdir()
        if file.name != "golden.json"
    }
    assert listed == actual


@pytest.mark.parametrize("sample", COMPLETE)
def test_terms_are_stated(sample: str):
    folder = SAMPLES / sample
    page = (folder / "PROVENANCE.md").read_text(encoding="utf-8")
    assert "weights were trained on" in page
    assert "carry their own terms" in page
    for text in (folder / "LICENSES").iterdir():
        assert f"LICENSES/{text.name}`" in page, "a licence text that nothing refers to"
    for reference in re.findall(r"LICENSES/[\w.-]+\w", page):
        assert (folder / reference).is_file()
    for photo in [
        *(folder / "golden").glob("*.[jp]*g"),
        *(folder / "photos").iterdir(),
        *(folder / "calibration").iterdir(),
    ]:
        row = re.search(rf"(?m)^\| `[a-z]+/{re.escape(photo.name)}` \| (.+)$", page)
        assert re.search(r"public domain|CC0|CC BY 2.0|no known copyright restrictions", row[1])


@pytest.mark.parametrize(("sample", "classes"), [("detection", 80), ("classification", 1000)])
def test_labels(sample: str, classes: int):
    file = load_manifest(SAMPLES / sample)
    labels = json.loads((file.root / file.manifest.pipeline.labels).read_text(encoding="utf-8"))
    assert len(labels) == classes


@pytest.mark.parametrize("sample", [*COMPLETE, "custom"])
def test_what_init_copies(sample: str):
    names = set(sample_files(sample))
    assert {"enginecrate.toml", "README.md", "PROVENANCE.md", "golden/golden.json"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("build/")]
