"""A new project around a vendor's own model."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from enginecrate.builder.scaffold.manifest_text import render_manifest
from enginecrate.builder.scaffold.new_folder import copy_file, new_folder
from enginecrate.builder.scaffold.pipeline_class import CLASS_FILE, own_class
from enginecrate.builder.scaffold.scaffold import Scaffold, finish_project
from enginecrate.graph.onnx.model import read_model
from enginecrate.graph.onnx.walk import model_tensors
from enginecrate.manifest import MANIFEST_NAME
from enginecrate.manifest.golden_samples import record_command
from enginecrate.pipelines.guess import guess_pipeline
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline

__all__ = ["create_from_model"]

_GOLDEN_README = """\
# Golden samples

This app is **unproven**: its right answers are not recorded yet.

Choose a few {inputs} whose answer you know, and record what the model says about them:

    {record}

Read the recorded answers in `golden.json`, and correct the manifest or the model until they are
right. From then on `enginecrate build` compares with them, and a server reports that it is ready
only while it still gives these answers.
"""


def create_from_model(
    target: Path,
    app_name: str,
    model: Path,
    *,
    task: str | None = None,
    labels: Path | None = None,
    custom: bool = False,
) -> Scaffold:
    """Write a project around an ONNX model.

    Args:
        target: the new project's folder.
        app_name: the app's name.
        model: copied with its external data.
        task: overrides the guess.
        labels: a file with the class names; copied.
        custom: write a pipeline class of the vendor's own, too.

    Raises:
        ProjectExists: there is something at `target` already.
        GraphError: the model cannot be used.
        LabelsInvalid: the labels cannot be read, or are not as many as the model's classes.
        PipelineInvalid: `task` does not fit the model's outputs.
    """
    checked = read_model(model)
    guess = guess_pipeline(checked.inputs, checked.outputs, task)
    spec = guess.spec
    with new_folder(target) as folder:
        if custom:
            spec, text = own_class(spec, checked.inputs, checked.outputs)
            (folder / CLASS_FILE).write_text(text, encoding="utf-8")
        model_path = f"models/{_safe_name(model.name)}"
        _copy_model(model, folder / model_path)
        if labels is not None:
            names = load_labels(labels)
            create_pipeline(spec, checked.inputs, checked.outputs, names, folder)
            labels_path = f"models/labels-{_safe_name(labels.name)}"
            copy_file(labels, folder / labels_path)
            spec = msgspec.structs.replace(spec, labels=labels_path)
        (folder / "golden").mkdir()
        (folder / "golden" / "README.md").write_text(_golden_readme(spec.task), "utf-8")
        text = render_manifest(app_name, model_path, spec)
        (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
        return finish_project(folder, target, guess.reasons)


def _golden_readme(task: str) -> str:
    inputs = "inputs (`.npz`: one array for each input)" if task == "tensors" else "photos"
    return _GOLDEN_README.format(inputs=inputs, record=record_command(task))


def _copy_model(model: Path, copy: Path) -> None:
    """Copy the ONNX file and the external data that it names, relative to itself."""
    copy_file(model, copy)
    proto = onnx.load(model, load_external_data=False)
    locations = {
        ExternalDataInfo(tensor).location
        for tensor in model_tensors(proto)
        if uses_external_data(tensor)
    }
    for location in sorted(locations):
        copy_file(model.parent / location, copy.parent / location)


def _safe_name(name: str) -> str:
    """A file name that needs no quoting in a shell or in TOML."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".-") or "file"
