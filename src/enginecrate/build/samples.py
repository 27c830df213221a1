"""The sample projects that ship with the program."""

from __future__ import annotations

from pathlib import Path

from enginecrate.errors import UsageError, nearest
from enginecrate.version import PACKAGE_FOLDER

__all__ = ["SAMPLES", "TEMPLATES", "sample_files"]

SAMPLES = ("detection", "classification")
TEMPLATES = ("custom",)

_LAYERS = {
    "detection": ("detection",),
    "classification": ("classification",),
    # The template brings its pipeline class; model, labels and photos are the detector's.
    "custom": ("detection", "custom"),
}
"""The folders that make up a sample or template: a later one replaces files of an earlier."""

_UNWANTED = {"__pycache__", "build"}
"""What somebody's work in a source checkout leaves in a sample."""


def sample_files(name: str) -> dict[str, Path]:
    """The files of a sample or template: from their place in the project to where they lie now.

    Raises:
        UsageError: an unknown name, or the program was installed without its samples.
    """
    if name not in _LAYERS:
        raise UsageError(
            f"there is no sample or template {name!r}{nearest(name, _LAYERS)}; "
            f"known: {', '.join(_LAYERS)}"
        )
    base = _samples_folder()
    files: dict[str, Path] = {}
    for layer in _LAYERS[name]:
        for file in sorted((base / layer).rglob("*")):
            if file.is_file() and not _UNWANTED.intersection(file.relative_to(base).parts):
                files[file.relative_to(base / layer).as_posix()] = file
    return files


def _samples_folder() -> Path:
    """Beside the package in a source checkout, inside it in an installed wheel."""
    for folder in (PACKAGE_FOLDER / "samples", PACKAGE_FOLDER.parents[1] / "samples"):
        if (folder / "detection" / "enginecrate.toml").is_file():
            return folder
    raise UsageError(
        f"the sample projects are missing in {PACKAGE_FOLDER / 'samples'}; install enginecrate "
        "again, or start from a model of your own: enginecrate init NAME --model FILE.onnx"
    )
