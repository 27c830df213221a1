"""From a project folder to a model that is ready: plan, engines, golden samples."""

from __future__ import annotations

import logging
from pathlib import Path

from enginecrate.build.golden import check_golden, load_golden
from enginecrate.build.plan import ensure_plan
from enginecrate.build.project import Project, open_project
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Engine, Plan, RunOptions
from enginecrate.engines.cores import available_cores
from enginecrate.pipelines.base import Limits, Result
from enginecrate.server.counting import CountedEngine
from enginecrate.server.logs import log_event
from enginecrate.server.models import Loaded, ServedModel
from enginecrate.server.scheduler import BatchScheduler
from enginecrate.server.wire import Signature
from enginecrate.settings import Settings

__all__ = ["load_model"]

_log = logging.getLogger(__name__)

PROOF_SECONDS = 300.0
"""Longest time for one golden sample."""


def load_model(model: ServedModel, path: Path, settings: Settings) -> None:
    """Load a model and prove it. Runs in a thread of its own; `model` tells how far it is.

    Raises:
        EnginecrateError: the project, its plan or its engines cannot be used. A golden sample that
            fails is no error here: the model's state says so.
    """
    project = open_project(path, settings)
    plan = ensure_plan(project, settings, progress=model.progress)
    loaded = _load(model, project, plan, settings)
    try:
        model.start_proving(loaded)
        _prove(model, loaded, project)
    except BaseException:
        loaded.scheduler.close()
        raise


def _load(model: ServedModel, project: Project, plan: Plan, settings: Settings) -> Loaded:
    serve = project.manifest.serve
    count = settings.instances or serve.instances
    threads = settings.engine_threads or max(1, available_cores() // count)
    backend = get_backend(plan.info.backend)
    engines: list[Engine] = []
    for number in range(count):
        model.progress("load the engines", number, count)
        engine = backend.load(plan, RunOptions(threads=threads))
        engines.append(CountedEngine(engine, model.statistics))
    scheduler = BatchScheduler(
        engines,
        max_pending=settings.max_pending,
        max_batch=serve.max_batch,
        max_queue_delay_seconds=serve.max_queue_delay_ms / 1000,
    )
    return Loaded(
        pipeline=project.pipeline,
        scheduler=scheduler,
        info=plan.info,
        signature=Signature(plan.info.inputs, plan.info.outputs, scheduler.max_batch),
        labels=project.labels,
        instances=count,
        limits=Limits(settings.max_body_bytes, settings.max_image_pixels),
    )


def _prove(model: ServedModel, loaded: Loaded, project: Project) -> None:
    samples = load_golden(project.root / project.manifest.precision.accuracy.golden)
    if not samples:
        model.finish_proving(None)
        log_event(
            _log,
            "ready, but unproven: the app has no golden samples; record some with: "
            "enginecrate golden record PHOTO...",
            level=logging.WARNING,
            model=model.name,
            version=model.version,
        )
        return

    def predict(payload: bytes) -> Result:
        prepared = loaded.pipeline.prepare(payload)
        execution = loaded.scheduler.submit(prepared.tensors).result(PROOF_SECONDS)
        return loaded.pipeline.finish(execution.outputs, prepared.context)

    report = check_golden(predict, samples)
    model.finish_proving(report)
    level = logging.INFO if report.passed else logging.ERROR
    words = "ready" if report.passed else f"never ready: {model.reason}"
    log_event(_log, words, level=level, model=model.name, version=model.version,
              golden_samples=len(samples))  # fmt: skip
