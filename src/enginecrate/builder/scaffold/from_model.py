"""A new project around a vendor's own model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from enginecrate.builder.scaffold.guess.guesses import Answers, Guess, Setup
from enginecrate.builder.scaffold.guess.setup import guess_setup
from enginecrate.builder.scaffold.manifest_text import render_manifest
from enginecrate.builder.scaffold.new_folder import copy_file, new_folder
from enginecrate.builder.scaffold.pipeline_class import CLASS_FILE, own_class
from enginecrate.builder.scaffold.scaffold import Scaffold, finish_project
from enginecrate.builder.trial.findings import TrialFacts
from enginecrate.builder.trial.trial import try_model
from enginecrate.errors import BackendUnavailable, PlanBuildFailed, SetupUnknown, TrialFailed
from enginecrate.graph.describe.metadata import read_metadata
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.onnx.walk import model_tensors
from enginecrate.manifest import MANIFEST_NAME
from enginecrate.manifest.golden_samples import record_command
from enginecrate.pipelines.label_check import check_labels
from enginecrate.pipelines.labels import load_labels
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import PipelineSpec

__all__ = ["Ask", "create_from_model"]

Ask = Callable[[Guess, Answers], Answers]
"""Asks somebody about one guess, and adds what they say to the answers."""

_NO_ANSWERS = Answers()

_MOST_QUESTIONS = 12

_OWN_LABELS = "models/labels.json"
"""The class names that the model itself brings along."""

_UNTRIED = "Not tried: the app did not run here, so that nothing about its answers is known"

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
    answers: Answers = _NO_ANSWERS,
    labels: Path | None = None,
    custom: bool = False,
    ask: Ask | None = None,
    untried: bool = False,
    force: bool = False,
) -> Scaffold:
    """Write a project around an ONNX model.

    Args:
        target: the new project's folder.
        app_name: the app's name.
        model: copied with its external data.
        answers: what the user says about the model.
        labels: a file with the class names; copied.
        custom: write a pipeline class of the vendor's own, too; then nothing has to be known.
        ask: answers what the model does not tell; `None` where nobody is there to be asked.
        untried: write the project although its app fails on every photo, or cannot run here.
        force: change a project that is there.

    Raises:
        ProjectExists: there is something at `target` already.
        GraphError: the model cannot be used.
        LabelsInvalid: the labels cannot be read, or are not as many as the model's classes.
        PipelineInvalid: the task does not fit the model's outputs.
        SetupUnknown: the model does not tell how it is set up, and nobody was asked.
        TrialFailed: the app fails on every photo, or cannot run here.
    """
    checked = read_model(model)
    names = load_labels(labels) if labels is not None else []
    differences = check_labels(names, read_metadata(checked.proto).labels, labels) if names else []
    answers = msgspec.structs.replace(answers, labels=len(names))
    setup = guess_setup(checked, answers) if custom else _asked(checked, answers, ask)
    model_path = f"models/{_safe_name(model.name)}"
    owned = frozenset({model_path, _OWN_LABELS})
    with new_folder(target, force=force, owned=owned) as folder:
        _copy_model(model, folder / model_path)
        spec = setup.spec
        if custom:
            spec, text = own_class(spec, checked.inputs, checked.outputs)
            (folder / CLASS_FILE).write_text(text, encoding="utf-8")
        if labels is not None:
            create_pipeline(spec, checked.inputs, checked.outputs, names, folder)
            labels_path = f"models/labels-{_safe_name(labels.name)}"
            copy_file(labels, folder / labels_path)
            spec = msgspec.structs.replace(spec, labels=labels_path)
        elif setup.labels:
            names = list(setup.labels)
            spec = msgspec.structs.replace(spec, labels=_OWN_LABELS)
            text = json.dumps(names, ensure_ascii=False, indent=1)
            (folder / _OWN_LABELS).write_text(f"{text}\n", encoding="utf-8")
        trial = _tried(checked, spec, names, folder, untried=untried)
        (folder / "golden").mkdir()
        (folder / "golden" / "README.md").write_text(_golden_readme(spec.task), "utf-8")
        guesses = [one for one in setup.guesses if getattr(spec, one.key) == one.value]
        if labels is None and setup.labels:
            guesses.append(Guess("labels", _OWN_LABELS, setup.labels_reason, "sure"))
        text = render_manifest(app_name, model_path, spec, guesses)
        (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
        project = finish_project(folder, target)
        unused = (setup.labels_reason,) if setup.labels_reason and not setup.labels else ()
        untried_words = () if trial is not None or not untried else (_UNTRIED,)
        remarks = (*differences, *unused, *untried_words)
        return replace(project, guesses=guesses, trial=trial, remarks=remarks)


def _asked(model: OnnxModel, answers: Answers, ask: Ask | None) -> Setup:
    """The set-up, once everything that the model does not tell was asked."""
    setup = guess_setup(model, answers)
    for _ in range(_MOST_QUESTIONS):
        if not setup.unknown or ask is None:
            break
        answers = ask(setup.unknown[0], answers)
        setup = guess_setup(model, answers)
    if setup.unknown:
        lines = "".join(
            f"\n  {guess.key}: {guess.reason}; give {_example(guess)}" for guess in setup.unknown
        )
        raise SetupUnknown(
            f"{model.source} does not tell how it is set up; say it on the command line, and "
            f"nothing was written:{lines}",
            guesses=[guess.shown for guess in setup.guesses],
        )
    return setup


def _example(guess: Guess) -> str:
    """The option that answers a guess, and its value if the proposal is right."""
    option = guess.flag.split()[0]
    if guess.key == "size":
        return f"{option} HEIGHTxWIDTH, for example {option} {guess.value[0]}x{guess.value[1]}"
    if guess.key in ("task", "activation"):
        return f"{guess.flag}, for example {option} {guess.value}"
    return guess.flag


def _tried(
    model: OnnxModel, spec: PipelineSpec, labels: Sequence[str], root: Path, *, untried: bool
) -> TrialFacts | None:
    """The run on shipped photos; `None` when the app cannot run here, and that was allowed.

    Tensors are made up, and a model may well refuse those: that is no fault of its set-up.
    """
    try:
        trial = try_model(model, spec, labels, root).facts
    except (PlanBuildFailed, BackendUnavailable) as exc:
        if untried:
            return None
        raise TrialFailed(
            f"the app cannot run here, so its set-up could not be tried: {exc}; --untried writes "
            "the project nevertheless, for a stack that can run it"
        ) from exc
    if trial.faults and spec.task != "tensors" and not untried:
        words = "\n  ".join(str(fault) for fault in trial.faults)
        raise TrialFailed(
            "the app was tried on photos that ship with the program, and no answer can be right:"
            f"\n  {words}\nsay more about the model (--size, --task, --activation, --decoder ...), "
            "or write the project nevertheless with --untried, and correct enginecrate.toml"
        )
    return trial


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
