"""The proof of a loaded plan before it serves: golden samples, or a trial run; and batches.

Everything runs through the plan's own scheduler, as requests do, and is counted nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.builder.golden.samples import GoldenReport, GoldenSample, check_golden
from enginecrate.builder.project.project import Project
from enginecrate.builder.trial.samples import Sample
from enginecrate.builder.trial.trial import (
    START_SECONDS,
    Trial,
    TrialRun,
    run_trial,
    try_batches,
)
from enginecrate.pipelines.base import Result
from enginecrate.server.model.serving import LoadedModel
from enginecrate.values import Tensors, TensorSpec

__all__ = ["PlanProof", "prove_plan"]

_PROOF_SECONDS = 300.0
"""Longest time for one sample."""

_MOST_RUNS = 4
"""Golden samples that batches are made of."""


@dataclass(frozen=True, slots=True)
class PlanProof:
    """The outcome.

    golden: `None` when the app has no golden samples.
    trial: without golden samples all of it, else the part about batches; `None` when a golden
        sample failed before.
    seconds: that it took.
    """

    golden: GoldenReport | None
    trial: Trial | None
    seconds: float

    @property
    def refusal(self) -> str:
        """Why an app without golden samples cannot serve; empty when it can."""
        if self.golden is not None or self.trial is None or not self.trial.faults:
            return ""
        faults = "; ".join(str(fault) for fault in self.trial.faults[:3])
        return (
            f"the app was tried on inputs of our own, and it cannot be right: {faults}. Correct "
            "[pipeline] or the model, or record golden samples of its own kind: they decide then"
        )


def prove_plan(loaded: LoadedModel, project: Project, samples: Sequence[GoldenSample]) -> PlanProof:
    """Check the golden samples; without any, try the app on photos that ship with the program."""
    start = time.perf_counter()
    engine = _Scheduled(loaded)
    app = (loaded.pipeline, project.manifest.pipeline, project.model, engine)
    precision = loaded.info.precision
    if not samples:
        trial = run_trial(
            *app, precision=precision, profiles=project.profiles, seconds=START_SECONDS
        )
        return PlanProof(None, trial, time.perf_counter() - start)
    runs: list[TrialRun] = []

    def predict(payload: bytes) -> Result:
        prepared = loaded.pipeline.prepare(payload)
        outputs = engine.run(prepared.tensors)
        result = loaded.pipeline.finish(outputs, prepared.context)
        if len(runs) < _MOST_RUNS:
            name = samples[len(runs)].name
            runs.append(TrialRun(Sample(name, payload), prepared, outputs, result))
        return result

    report = check_golden(predict, samples)
    batches = None
    if report.passed:
        batches = try_batches(*app, runs, precision=precision, seconds=START_SECONDS)
    return PlanProof(report, batches, time.perf_counter() - start)


class _Scheduled:
    """The engines of a loaded model behind their scheduler."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._scheduler = loaded.scheduler
        self.inputs: Sequence[TensorSpec] = loaded.info.inputs
        self.outputs: Sequence[TensorSpec] = loaded.info.outputs
        self.max_batch: int = loaded.signature.max_batch

    def run(self, inputs: Tensors) -> Tensors:
        return self._scheduler.submit(inputs).result(_PROOF_SECONDS).outputs
