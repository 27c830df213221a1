"""An app in this process: a payload in, a result out."""

from __future__ import annotations

from pathlib import Path

from enginecrate.builder.ladder.steps import ensure_plan
from enginecrate.builder.plans.plan import run_options
from enginecrate.builder.project.project import Project, open_project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Engine
from enginecrate.pipelines.base import Pipeline, Result
from enginecrate.settings import Settings
from enginecrate.values import Progress, no_progress

__all__ = ["Predictor", "load_predictor", "open_predictor"]


class Predictor:
    """An engine with its pipeline around it. As thread-safe as its engine."""

    def __init__(self, engine: Engine, pipeline: Pipeline) -> None:
        self.engine = engine
        self.pipeline = pipeline

    def predict(self, payload: bytes) -> Result:
        """Answer one payload: an encoded image, or for the task `tensors` an `.npz` archive.

        Raises:
            PipelineError: the payload cannot be used.
            EngineError: the engine refused its tensors, or failed.
        """
        prepared = self.pipeline.prepare(payload)
        outputs = self.engine.run(prepared.tensors)
        return self.pipeline.finish(outputs, prepared.context)

    def close(self) -> None:
        """Free the engine. A second call does nothing."""
        self.engine.close()


def open_predictor(path: Path, settings: Settings, progress: Progress = no_progress) -> Predictor:
    """Open a project, build its plan unless the cache has it, and load it.

    Args:
        path: the project folder, or its manifest.
        settings: cache folder, limits and threads.
        progress: told what goes on.

    Raises:
        EnginecrateError: as `open_project`, `ensure_plan` and `Backend.load` raise.
    """
    return load_predictor(open_project(path, settings), settings, progress)


def load_predictor(
    project: Project, settings: Settings, progress: Progress = no_progress
) -> Predictor:
    """The same for a project that is open already."""
    plan = ensure_plan(project, settings, progress)
    progress("load the plan", 0, 1)
    options = run_options(plan, settings, threads=settings.engine_threads)
    engine = get_backend(plan.info.backend).load(plan, options)
    progress("load the plan", 1, 1)
    return Predictor(engine, project.pipeline)
