"""The verdict of a build, and the error that it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enginecrate.builder.accuracy.comparison import summarize
from enginecrate.builder.accuracy.evaluation import too_few
from enginecrate.builder.plans.build_all import TargetResult
from enginecrate.builder.plans.targets import NotBuilt
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.examination import Examination
from enginecrate.builder.proof.golden_proof import Proof
from enginecrate.builder.proof.model_trial import trial_failure
from enginecrate.builder.report.report import BuildReport, Verdict
from enginecrate.errors import (
    AccuracyTooLow,
    BuildError,
    GoldenMismatch,
    NotWorthwhile,
    PipelineModuleInvalid,
    TooFewPhotos,
)
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.manifest.golden_samples import record_command

__all__ = ["Outcome", "failure_reasons", "raise_failure", "raise_missing"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that one build has found out.

    simplified: the model after simplification.
    examinations: of the plans, in their order.
    """

    project: Project
    simplified: OnnxModel
    results: Sequence[TargetResult]
    not_built: Sequence[NotBuilt]
    examinations: Sequence[Examination]

    @property
    def served(self) -> Examination | None:
        """The examination of the plan that would serve here; without one, the first."""
        here = [one for one in self.examinations if one.way == "measured"]
        precision = self.project.manifest.precision.precision
        best = [one for one in here if one.result.target.precision is precision]
        first = [one for one in best if one.result.target.rung is one.result.target.stack.rungs[0]]
        return next(iter(first or best or here or self.examinations), None)

    @property
    def proof(self) -> Proof:
        """The proof of the plan that would serve here; an empty one when there is none."""
        if self.served is not None:
            return self.served.proof
        required = self.project.manifest.precision.accuracy.min_agreement
        return Proof((), summarize((), required))

    @property
    def verdict(self) -> tuple[Verdict, tuple[str, ...]]:
        """With the reasons, unless it is `proven`."""
        reasons = [reason for one in self.examinations for reason in failure_reasons(one)]
        reasons += [f"{one.target}: {one.error}" for one in self._wrong()]
        if reasons:
            return "failed", tuple(dict.fromkeys(reasons))
        if not self.proof.examined:
            folder = self.project.manifest.precision.accuracy.golden
            return "unproven", (
                f"there are no golden samples in {folder}, so it is not known whether the app's "
                f"answers are right; record some: {record_command(self.project.pipeline.task)}",
            )
        return "proven", ()

    def _wrong(self) -> Iterator[TargetResult]:
        """Targets whose graph is wrong; where no target has a plan, those with any error."""
        for result in self.results:
            if isinstance(result.error, AccuracyTooLow) or (result.error and not self.examinations):
                yield result


def raise_failure(report: BuildReport, outcome: Outcome) -> None:
    """End a build that failed with the error that says why; its report is written.

    Raises:
        GoldenMismatch, PipelineModuleInvalid, TrialFailed, AccuracyTooLow, NotWorthwhile,
            TooFewPhotos: see `run_build`.
    """
    if report.verdict != "failed":
        return
    details = "".join(f"\n  {reason}" for reason in report.reasons)
    broken = [one for one in outcome.examinations if one.proof.failures]
    if broken:
        proof = broken[0].proof
        raise GoldenMismatch(
            f"{len(proof.failures)} of {len(proof.examined)} golden samples gave another result "
            f"than the expected one:{details}\nCorrect the model, the manifest or the samples; "
            f"the pictures are in {report.run.report}"
        )
    contract = report.result.contract
    if contract not in ("", "passed") and set(report.reasons) == {contract}:
        raise PipelineModuleInvalid(contract)
    faults = [fault for one in outcome.examinations if one.trial for fault in _trial_reasons(one)]
    if faults and set(report.reasons) == set(faults):
        raise trial_failure(faults)
    if any(target.status == "failed" for target in report.result.targets):
        raise AccuracyTooLow(f"a plan is not accurate enough:{details}\nSee {report.run.report}")
    errors = [result.error for result in outcome.results]
    kind = TooFewPhotos if isinstance(errors[0], TooFewPhotos) else NotWorthwhile
    raise kind(f"nothing was built:{details}\nSee {report.run.report}")


def raise_missing(report: BuildReport) -> None:
    """Take a target that was not built for an error. Raises `BuildError`."""
    missing = [
        f"{target.stack}, {target.asked} for {target.device}: {target.reason}"
        for target in report.result.targets
        if target.status == "not built"
    ]
    missing += report.result.not_buildable
    if missing:
        listed = "".join(f"\n  {target}" for target in missing)
        raise BuildError(f"not everything that the manifest wants was built:{listed}")


def failure_reasons(examination: Examination) -> Iterator[str]:
    """The reasons why a plan has failed, one line each; nothing when it has not."""
    target, proof = examination.result.target, examination.proof
    evaluation, labelled = examination.evaluation, examination.labelled
    where = f"{target.precision} for {target.device}"
    for sample in proof.examined:
        for reason in sample.outcome.reasons:
            yield f"{where}: {sample.sample.name}: {reason}"
    if not proof.accuracy.sufficient:
        yield (
            f"{where}: only {proof.accuracy.agreement:.1%} of the plan's results match those of "
            "the model as it was given; the manifest requires "
            f"{proof.accuracy.required:.1%}"
        )
    elif evaluation is not None and evaluation.verdict == "too few":
        yield f"{where}: {too_few(evaluation)}"
    elif evaluation is not None and not evaluation.passed:
        yield (f"{where}: {evaluation.agreement}; the manifest requires {evaluation.required:.1%}")
    if labelled is not None and not labelled.passed:
        yield (
            f"{where}: {labelled.candidate}, and {labelled.reference}; the manifest "
            f"allows a drop of {labelled.max_drop:.4f}"
        )
    if proof.contract not in ("", "passed"):
        yield proof.contract
    yield from _trial_reasons(examination)


def _trial_reasons(examination: Examination) -> Iterator[str]:
    target = examination.result.target
    for fault in examination.trial.faults if examination.trial else ():
        yield f"{target.precision} for {target.device}: {fault}"
