"""Loading a plan into engines."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from enginecrate.builder.ladder.memory_plans import SparePlan
from enginecrate.builder.plans.plan import run_options
from enginecrate.builder.project.project import Project
from enginecrate.builder.trial.findings import limit_note
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Plan
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.files.eviction import Pin
from enginecrate.manifest.golden_samples import record_command
from enginecrate.pipelines.base import Limits
from enginecrate.server.inference_protocol.request import Signature
from enginecrate.server.logs.events import log_event
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import LoadedModel, engine_name
from enginecrate.server.scheduling.counters import CountedEngine
from enginecrate.server.scheduling.scheduler import BatchScheduler
from enginecrate.settings import Settings

__all__ = ["load_plan", "log_ready"]

_WARM_SECONDS = 30.0
"""Longest time for making one engine ready for the batches that will come."""

_log = logging.getLogger(__name__)


def load_plan(model: ServedModel, project: Project, plan: Plan, settings: Settings) -> LoadedModel:
    """Load the engines of a plan, behind a scheduler of their own.

    Raises:
        PlanMismatch, PlanInvalid: the plan is not for this machine, or damaged.
    """
    pin = _pin(plan, settings)
    try:
        engines = _engines(model, project, plan, settings)
    except BaseException:
        if pin is not None:
            pin.close()
        raise
    finally:
        if isinstance(plan, SparePlan):
            plan.free()
    serve = project.manifest.serve
    scheduler = BatchScheduler(
        engines,
        max_pending=settings.max_pending,
        max_batch=serve.max_batch,
        queue_seconds=settings.queue_seconds,
        max_queue_delay_seconds=serve.max_queue_delay_ms / 1000,
    )
    scheduler.on_device_lost = partial(model.lose, scheduler)
    return LoadedModel(
        pipeline=project.pipeline,
        scheduler=scheduler,
        info=plan.info,
        signature=Signature(plan.info.inputs, plan.info.outputs, scheduler.max_batch),
        labels=project.labels,
        instances=len(engines),
        limits=Limits(settings.max_body_bytes, settings.max_image_pixels),
        engine=engine_name(plan.info),
        engines=engines,
        pin=pin,
        one_by_one=limit_note(plan.info),
    )


def log_ready(model: ServedModel, samples: int) -> None:
    """Log what has become of the model: it serves now, or it never will."""
    fields: dict[str, Any] = {"model": model.name, "version": model.version}
    if not model.is_ready:
        words = f"never ready: {model.reason}"
        level = logging.WARNING if model.is_serving else logging.ERROR
        log_event(_log, words, level=level, **fields, golden_samples=samples)
    elif samples:
        log_event(_log, "ready", **fields, golden_samples=samples)
    else:
        log_event(
            _log,
            "ready, but unproven: the app has no golden samples; record some with: "
            f"{record_command(model.manifest.pipeline.task)}",
            level=logging.WARNING,
            **fields,
        )


def _engines(
    model: ServedModel, project: Project, plan: Plan, settings: Settings
) -> list[CountedEngine]:
    count = settings.instances or project.manifest.serve.instances
    threads = settings.engine_threads or max(1, available_cores() // count)
    backend = get_backend(plan.info.backend)
    engines: list[CountedEngine] = []
    try:
        for number in range(count):
            model.progress("load the engines", number, count)
            engine = backend.load(plan, run_options(plan, settings, threads=threads))
            engines.append(CountedEngine(engine, model.statistics))
            model.progress("warm the engines up", number, count)
            engines[-1].warm(project.manifest.serve.max_batch or 0, _WARM_SECONDS)
    except BaseException:
        for loaded in engines:
            loaded.close()
        raise
    words = "engines are loaded"
    log_event(_log, words, level=logging.DEBUG, instances=count, threads=threads)
    return engines


def _pin(plan: Plan, settings: Settings) -> Pin | None:
    """Keep the plan in the cache as long as it serves; others' plans are not ours to keep."""
    if settings.cache_path not in plan.path.parents:
        return None
    return PlanStore(settings.cache_path, settings.cache_max_bytes).pin(plan)
