"""The trial run of a project before anything is built: on its model as the vendor gave it."""

from __future__ import annotations

from contextlib import closing

from enginecrate.builder.project.project import Project
from enginecrate.builder.trial.samples import shipped_photos
from enginecrate.builder.trial.trial import run_trial
from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import EnginecrateError, PipelineModuleInvalid, TrialFailed
from enginecrate.pipelines.contract import check_contract
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["check_model_app", "check_own_class", "trial_failure"]

_CURE = (
    "Correct [pipeline] or the model. If the app is right and only these inputs do not suit it, "
    "record golden samples of its own kind: they decide then"
)


def check_model_app(project: Project, settings: Settings, progress: Progress = no_progress) -> None:
    """Try an app that has no golden samples, so that what cannot be right is told at once.

    Raises:
        TrialFailed: it gives errors, or answers that cannot be right.
        PipelineModuleInvalid: the ISV's own pipeline breaks its contract.
    """
    progress("try the app", 0, 1)
    try:
        engine = OnnxRuntimeBackend().load_model(
            project.model, RunOptions(threads=settings.engine_threads)
        )
    except EnginecrateError:
        return  # the plans tell why: each backend has rules of its own
    with closing(engine):
        trial = run_trial(
            project.pipeline,
            project.manifest.pipeline,
            project.model,
            engine,
            profiles=project.profiles,
            seconds=0.0,
        )
        if trial.faults and project.manifest.pipeline.module is not None:
            _check_contract(project, engine)
    progress("try the app", 1, 1)
    if trial.faults:
        raise trial_failure([str(fault) for fault in trial.faults])


def check_own_class(
    project: Project, payload: bytes, settings: Settings, progress: Progress = no_progress
) -> None:
    """Run the ISV's own class on a golden sample: what it raises is told before plans are built.

    Raises:
        PipelineModuleInvalid: it raises what is none of our errors.
    """
    if project.manifest.pipeline.module is None:
        return
    progress("try the app", 0, 1)
    options = RunOptions(threads=settings.engine_threads)
    try:
        with closing(OnnxRuntimeBackend().load_model(project.model, options)) as engine:
            prepared = project.pipeline.prepare(payload)
            project.pipeline.finish(engine.run(prepared.tensors), prepared.context)
    except EnginecrateError:
        pass  # a refusal is the examination's
    except Exception as exc:  # an ISV's pipeline may raise anything
        raise PipelineModuleInvalid(
            f"[pipeline] module {project.manifest.pipeline.module!r} raises "
            f"{type(exc).__name__}: {exc} on a golden sample; correct the class"
        ) from exc
    progress("try the app", 1, 1)


def trial_failure(faults: list[str]) -> TrialFailed:
    """The error for what a trial run has found."""
    listed = "".join(f"\n  {fault}" for fault in dict.fromkeys(faults))
    return TrialFailed(
        f"the app was tried on our own inputs, and it cannot be right:{listed}\n{_CURE}"
    )


def _check_contract(project: Project, engine: Engine) -> None:
    """A broken promise has better words than what follows from it; refusals are the trial's."""
    for photo in shipped_photos():
        try:
            check_contract(project.pipeline, photo.payload, project.model.inputs, engine.run)
        except PipelineModuleInvalid:
            raise
        except EnginecrateError:
            continue
        return
