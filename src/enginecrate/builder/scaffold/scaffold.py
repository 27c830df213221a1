"""A new project, copied from a sample or a template that ships with the program."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enginecrate.builder.scaffold.guess.guesses import Guess
from enginecrate.builder.scaffold.manifest_text import toml_value
from enginecrate.builder.scaffold.new_folder import copy_file, new_folder
from enginecrate.builder.trial.findings import TrialFacts
from enginecrate.errors import UsageError, nearest
from enginecrate.manifest import MANIFEST_NAME, check_files, load_manifest
from enginecrate.values import PipelineSpec
from enginecrate.version import PACKAGE_FOLDER

__all__ = ["Scaffold", "app_name_from", "create_from_sample", "finish_project", "sample_files"]

_LAYERS = {
    "detection": ("detection",),
    "classification": ("classification",),
    # The template brings its pipeline class; model, labels and photos are the detector's.
    "custom": ("detection", "custom"),
}
"""The folders that make up a sample or template: a later one replaces files of an earlier."""

_UNWANTED = {"__pycache__", "build"}
"""Folders that work in a source checkout leaves in a sample."""

_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_GITIGNORE = "# Written by `enginecrate build`\n/build/\n"


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A project that was just written.

    proven: it has golden samples.
    guesses: for a project around a model: what was guessed about it, and why.
    trial: the run on shipped photos; `None` where there was none.
    remarks: what else is worth knowing.
    """

    root: Path
    app_name: str
    spec: PipelineSpec
    proven: bool
    guesses: Sequence[Guess] = ()
    trial: TrialFacts | None = None
    remarks: Sequence[str] = ()


def app_name_from(text: str) -> str:
    """An app's name made from a folder's: `My_App 2` gives `my-app-2`.

    Raises:
        UsageError: nothing usable is left, or it is too long.
    """
    name = re.sub(r"[\s_.]+", "-", text.strip().lower()).strip("-")
    if not _APP_NAME.fullmatch(name):
        raise UsageError(
            f"cannot make the app's name from {text!r}: it has 1 to 63 lower-case letters a-z, "
            "digits and dashes, for example ai-inspection; give one with --app-name"
        )
    return name


def create_from_sample(
    target: Path, app_name: str, sample: str, *, force: bool = False
) -> Scaffold:
    """Write a copy of a sample or template under the app's own name.

    force: change a project that is there; only its manifest is replaced.

    Raises:
        ProjectExists: there is something at `target` already.
        UsageError: there is no such sample.
    """
    files = sample_files(sample)
    with new_folder(target, force=force) as folder:
        for name, source in files.items():
            copy_file(source, folder / name)
        manifest = folder / MANIFEST_NAME
        text = manifest.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^name = .*$", f"name = {toml_value(app_name)}", text, count=1)
        manifest.write_text(text, encoding="utf-8")
        return finish_project(folder, target)


def finish_project(folder: Path, target: Path) -> Scaffold:
    """Check a project before it takes its place at `target`: what `init` writes must build."""
    (folder / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
    file = load_manifest(folder)
    check_files(file)
    golden = Path(file.manifest.precision.accuracy.golden) / "golden.json"
    spec = file.manifest.pipeline
    proven = (folder / golden).is_file() or (target / golden).is_file()
    return Scaffold(target.absolute(), file.manifest.app.name, spec, proven)


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
