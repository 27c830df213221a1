"""The proof of a plan: on the golden samples, and against the model as the vendor gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginecrate.builder.accuracy.comparison import (
    Accuracy,
    SampleAccuracy,
    compare_outputs,
    summarize,
)
from enginecrate.builder.golden.samples import GoldenOutcome, GoldenSample, check_sample
from enginecrate.builder.golden.tolerance import differences
from enginecrate.builder.project.project import Project
from enginecrate.builder.trial.samples import Sample
from enginecrate.builder.trial.trial import TrialRun
from enginecrate.engines.base import Engine
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.base import Pipeline, Result
from enginecrate.pipelines.contract import check_contract
from enginecrate.values import Progress, Tensors, no_progress

__all__ = ["Examined", "Proof", "contract_of", "prove"]

_STEP = "check the golden samples"

_MOST_RUNS = 4


@dataclass(frozen=True, slots=True)
class Examined:
    """One golden sample: its outcome, and the app's own result if there was one."""

    sample: GoldenSample
    outcome: GoldenOutcome
    found: Result | None


@dataclass(frozen=True, slots=True)
class Proof:
    """The findings about a plan.

    contract: `passed`, the reason why it was broken, or empty when there was nothing to test.
    runs: a few samples with the outputs that each got alone, for a look at batches.
    """

    examined: tuple[Examined, ...]
    accuracy: Accuracy
    contract: str = ""
    runs: tuple[TrialRun, ...] = ()

    @property
    def failures(self) -> list[str]:
        """Names of the golden samples that gave another result."""
        return [one.sample.name for one in self.examined if not one.outcome.passed]


def prove(
    project: Project,
    engine: Engine,
    reference: Engine,
    samples: Sequence[GoldenSample],
    fallback: Tensors | None,
    progress: Progress = no_progress,
) -> Proof:
    """Run every golden sample through the plan's engine and through the reference.

    Args:
        project: with the pipeline to prove.
        engine: the plan's.
        reference: the model as it was given, neither simplified nor optimised.
        samples: golden samples; may be empty.
        fallback: one sample of tensors, to compare at least the engines when there are none.
        progress: told about each sample.
    """
    examined: list[Examined] = []
    compared: list[SampleAccuracy] = []
    runs: list[TrialRun] = []
    for number, sample in enumerate(samples):
        progress(_STEP, number, len(samples))
        outcome, accuracy, run = _examine(project.pipeline, engine, reference, sample)
        examined.append(outcome)
        compared.extend([accuracy] if accuracy else [])
        runs.extend([run] if run and len(runs) < _MOST_RUNS else [])
    progress(_STEP, len(samples), len(samples))
    if not samples and fallback is not None:
        outputs = compare_outputs(reference.run(fallback), engine.run(fallback))
        compared.append(SampleAccuracy("made-up tensors", None, (), outputs))
    required = project.manifest.precision.accuracy.min_agreement
    return Proof(tuple(examined), summarize(compared, required), runs=tuple(runs))


def _examine(
    pipeline: Pipeline, engine: Engine, reference: Engine, sample: GoldenSample
) -> tuple[Examined, SampleAccuracy | None, TrialRun | None]:
    try:
        prepared = pipeline.prepare(sample.payload)
        outputs = engine.run(prepared.tensors)
        result = pipeline.finish(outputs, prepared.context)
        reference_outputs = reference.run(prepared.tensors)
        expected = pipeline.finish(reference_outputs, prepared.context)
    except EnginecrateError as exc:
        outcome = GoldenOutcome(sample.name, False, (str(exc),))
        return Examined(sample, outcome, None), None, None
    except Exception as exc:  # an ISV's pipeline may raise anything
        outcome = GoldenOutcome(sample.name, False, (f"{type(exc).__name__}: {exc}",))
        return Examined(sample, outcome, None), None, None
    reasons = tuple(differences(expected, result, sample.tolerance))
    accuracy = SampleAccuracy(
        sample.name, not reasons, reasons, compare_outputs(reference_outputs, outputs)
    )
    run = TrialRun(Sample(sample.name, sample.payload), prepared, outputs, result)
    return Examined(sample, check_sample(sample, result), result), accuracy, run


def contract_of(project: Project, engine: Engine, payload: bytes | None) -> str:
    """Test the contract of the ISV's own pipeline on one sample, as `Proof.contract` says it.

    `payload` is `None` when there is none that it accepts.
    """
    if project.manifest.pipeline.module is None or payload is None:
        return ""
    try:
        check_contract(project.pipeline, payload, project.model.inputs, engine.run)
    except EnginecrateError as exc:
        return str(exc)
    return "passed"
