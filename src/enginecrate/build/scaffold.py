"""New projects: from a sample, from a template, or around somebody's own model."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from enginecrate.build.manifest_text import render_manifest, toml_value
from enginecrate.build.samples import sample_layers
from enginecrate.errors import ProjectError, ProjectExists, UsageError
from enginecrate.graph.model import read_model
from enginecrate.graph.walk import model_tensors
from enginecrate.manifest import MANIFEST_NAME, check_files, load_manifest
from enginecrate.pipelines.guess import guess_pipeline
from enginecrate.values import PipelineSpec

__all__ = ["Scaffold", "app_name_from", "create_from_model", "create_from_sample"]

_APP_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_GITIGNORE = "# Written by `enginecrate build`\n/build/\n"

_GOLDEN_README = """\
# Golden samples

This app is **unproven**: nobody has said yet what its right answers are.

Choose a few photos whose answer you know, and record what the model says about them:

    enginecrate golden record PHOTO...

Read the recorded answers in `golden.json`, and correct the photos, the manifest or the model until
they are right. From then on `enginecrate build` compares with them, and a server reports that it
is ready only while it still gives these answers.
"""


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A project that was just written.

    proven: it has golden samples.
    reasons: for a project around a model: what was guessed about it, and why.
    """

    root: Path
    app_name: str
    spec: PipelineSpec
    proven: bool
    reasons: Sequence[str]


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


def create_from_sample(target: Path, app_name: str, sample: str) -> Scaffold:
    """Write a copy of a sample or template under the app's own name.

    Raises:
        ProjectExists: there is something at `target` already.
        UsageError: there is no such sample.
    """
    layers = sample_layers(sample)
    with _new_folder(target) as folder:
        for layer in layers:
            _copy_tree(layer, folder)
        manifest = folder / MANIFEST_NAME
        text = manifest.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^name = .*$", f"name = {toml_value(app_name)}", text, count=1)
        manifest.write_text(text, encoding="utf-8")
        return _finish(folder, target, reasons=())


def create_from_model(
    target: Path,
    app_name: str,
    model: Path,
    *,
    task: str | None = None,
    labels: Path | None = None,
) -> Scaffold:
    """Write a project around an ONNX model.

    Args:
        target: the new project's folder.
        app_name: the app's name.
        model: copied with its external data.
        task: overrides the guess.
        labels: a file with the class names; copied.

    Raises:
        ProjectExists: there is something at `target` already.
        GraphError: the model cannot be used.
        PipelineInvalid: `task` does not fit the model's outputs.
    """
    checked = read_model(model)
    guess = guess_pipeline(checked.inputs, checked.outputs, task)
    with _new_folder(target) as folder:
        spec = guess.spec
        (folder / "models").mkdir()
        model_path = f"models/{_safe_name(model.name)}"
        _copy_model(model, folder / model_path)
        if labels is not None:
            labels_path = f"models/{_safe_name(labels.name)}"
            _copy_file(labels, folder / labels_path)
            spec = _with_labels(spec, labels_path)
        (folder / "golden").mkdir()
        (folder / "golden" / "README.md").write_text(_GOLDEN_README, encoding="utf-8")
        text = render_manifest(app_name, model_path, spec)
        (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
        return _finish(folder, target, reasons=guess.reasons)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its name at the end: all of it or nothing."""
    _refuse_existing(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as exc:
        raise ProjectError(
            f"cannot write in {target.parent}: {exc.strerror}; choose another folder"
        ) from exc
    try:
        yield folder
        (folder / ".gitignore").write_text(_GITIGNORE, encoding="utf-8")
        folder.chmod(0o777 & ~_umask())
        folder.rename(target)
    except OSError as exc:
        _refuse_existing(target)
        raise ProjectError(
            f"cannot write the project {target}: {exc.strerror or exc}; nothing was left behind"
        ) from exc
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_existing(target: Path) -> None:
    """An empty folder may be replaced, unless somebody's shell stands in it."""
    if not (target.exists() or target.is_symlink()):
        return
    empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    if not empty or target.resolve() == Path.cwd():
        raise ProjectExists(
            f"{target} exists already and is left as it is; choose another name, or remove it"
        )


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _copy_tree(source: Path, folder: Path) -> None:
    """Copy contents only: an installed sample may be read-only, its copy must not be."""
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            _copy_file(file, folder / file.relative_to(source))


def _copy_file(source: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, copy)
    except FileNotFoundError as exc:
        raise UsageError(f"cannot read {source}: {exc.strerror}; check the path") from exc


def _copy_model(model: Path, copy: Path) -> None:
    """Copy the ONNX file and the external data that it names, relative to itself."""
    _copy_file(model, copy)
    proto = onnx.load(model, load_external_data=False)
    locations = {
        ExternalDataInfo(tensor).location
        for tensor in model_tensors(proto)
        if uses_external_data(tensor)
    }
    for location in sorted(locations):
        _copy_file(model.parent / location, copy.parent / location)


def _safe_name(name: str) -> str:
    """A file name that needs no quoting in a shell or in TOML."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-") or "file"


def _with_labels(spec: PipelineSpec, labels: str) -> PipelineSpec:
    return msgspec.structs.replace(spec, labels=labels)


def _finish(folder: Path, target: Path, *, reasons: Sequence[str]) -> Scaffold:
    """Check the new project before anybody sees it: what `init` writes must build."""
    file = load_manifest(folder)
    check_files(file)
    golden = folder / file.manifest.precision.accuracy.golden / "golden.json"
    spec = file.manifest.pipeline
    return Scaffold(target.absolute(), file.manifest.app.name, spec, golden.is_file(), reasons)
