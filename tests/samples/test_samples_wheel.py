"""An installed wheel finds its samples, too."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    return file


def test_a_wheel_holds_the_samples(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "detection/models/nanodet-g-416.onnx",
        "detection/LICENSES/Apache-2.0.txt",
        "classification/golden/golden.json",
        "custom/inspection.py",
    ):
        assert f"enginecrate/samples/{name}" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith("report.html")]


def test_init_works_from_an_unpacked_wheel(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    script = "import sys; from enginecrate.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "init", "x"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x" / "models" / "nanodet-g-416.onnx").stat().st_size > 10_000_000
