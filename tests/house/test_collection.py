"""pytest collects every test file, whatever the folder is called that it lies in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CONFIGURATION = TESTS.parent / "pyproject.toml"
# A module that the plugin hands out collects nothing, so no test file is imported: whether a
# library or a GPU is at hand changes no answer, and four thousand tests cost nothing. `-m gpu`
# opens the one folder that is closed to those who do not ask for it.
PLUGIN = """
import pytest

class File(pytest.Module):
    def collect(self):
        print("collects", self.path)
        return []

def pytest_pycollect_makemodule(module_path, parent):
    return File.from_parent(parent, path=module_path)
"""
PASSED_OVER_BY_DEFAULT = ["build", "dist", "node_modules", "venv", "CVS"]


def collected(folder: Path, plugins: Path, *options: str) -> set[Path]:
    """Test files that pytest collects below a folder."""
    (plugins / "naming_files.py").write_text(PLUGIN)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-s", "-m", "gpu"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "naming_files", *options, folder],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(plugins), "PYTEST_ADDOPTS": ""},
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return {Path(line.removeprefix("collects ")) for line in lines if line.startswith("collects ")}


def missing(folder: Path, plugins: Path, *options: str) -> list[str]:
    """Test files below a folder that pytest passes over."""
    files = {path for path in folder.rglob("test_*.py") if "__pycache__" not in path.parts}
    return sorted(
        str(path.relative_to(folder)) for path in files - collected(folder, plugins, *options)
    )


def test_every_test_file_is_collected(tmp_path: Path):
    assert missing(TESTS, tmp_path, "-c", str(CONFIGURATION)) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one test file in each folder that pytest passes over by itself."""
    tree = tmp_path / "tree"
    for name in [*PASSED_OVER_BY_DEFAULT, "ordinary"]:
        (tree / name).mkdir(parents=True)
        (tree / name / f"test_in_{name}.py").write_text("def test_nothing(): ...\n")
    return tree


def test_no_name_of_a_folder_hides_its_tests(tree: Path, tmp_path: Path):
    options = ["-c", str(CONFIGURATION), "--rootdir", str(tree)]
    assert missing(tree, tmp_path, *options) == []


def test_files_that_pytest_passes_over_are_found_missing(tree: Path, tmp_path: Path):
    defaults = tmp_path / "pytest.ini"
    defaults.write_text("[pytest]\n")
    assert missing(tree, tmp_path, "-c", str(defaults)) == sorted(
        f"{name}/test_in_{name}.py" for name in PASSED_OVER_BY_DEFAULT
    )
