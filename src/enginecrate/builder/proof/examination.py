"""Every plan of a build is examined: golden samples, agreement with FP32, time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from msgspec import structs

from enginecrate.builder.accuracy.comparison import summarize
from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.evaluation_set import EvaluationSet
from enginecrate.builder.accuracy.labelled import LabelledAccuracy
from enginecrate.builder.plans.build_all import TargetResult
from enginecrate.builder.plans.plan import ObtainedPlan, run_options
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.golden_proof import Proof, contract_of, prove
from enginecrate.builder.proof.hardware_records import (
    HardwareRecord,
    load_record,
    record_path,
    save_record,
)
from enginecrate.builder.proof.timing import Timing, time_app
from enginecrate.builder.trial.findings import Finding, TrialFacts, limit_note
from enginecrate.builder.trial.samples import synthetic_inputs
from enginecrate.builder.trial.trial import run_trial
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.cache.plans import one_by_one
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import EnginecrateError
from enginecrate.pipelines.constants import given_constants
from enginecrate.settings import Settings
from enginecrate.stacks.machine.devices import probe_gpus
from enginecrate.values import Digest, PlanInfo, Progress, Tensors, TensorSpec, no_progress

__all__ = ["Examination", "Way", "examine_plans"]

Way = Literal["measured", "simulated", "not run"]
"""The way in which a plan was examined: itself; its graph, executed in float by onnxruntime with
optimisations off, since its device is not here; or not at all."""


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings about one target's plan.

    evaluation: agreement with FP32; `None` without samples to compare with.
    labelled: against the truth, when the manifest names some.
    timing: only of plans that run here.
    trial: on the photos that ship with the program; `None` when nothing was run.
    batches: sizes of batches that gave each sample what it gets alone.
    reason: why it was not run.
    """

    result: TargetResult
    way: Way
    proof: Proof
    evaluation: Evaluation | None = None
    labelled: LabelledAccuracy | None = None
    timing: Timing | None = None
    trial: TrialFacts | None = None
    batches: tuple[int, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """True when a golden sample, the trial, the gate or the pipeline's contract says no."""
        return bool(
            self.proof.failures
            or (self.trial is not None and self.trial.faults)
            or not self.proof.accuracy.sufficient
            or self.proof.contract not in ("", "passed")
            or (self.evaluation is not None and not self.evaluation.passed)
            or (self.labelled is not None and not self.labelled.passed)
        )


def examine_plans(
    project: Project,
    results: Sequence[TargetResult],
    evaluation_set: EvaluationSet,
    settings: Settings,
    progress: Progress = no_progress,
) -> list[Examination]:
    """Examine each plan; equal plans, and equal graphs that are simulated, are run once.

    Args:
        project: whose plans they are.
        results: targets; those without a plan are left out of the answer.
        evaluation_set: that the graphs had to pass, too.
        settings: threads.
        progress: told what goes on.
    """
    options = RunOptions(threads=settings.engine_threads)
    with closing(OnnxRuntimeBackend().load_model(project.model, options)) as reference:
        examiner = _Examiner(project, reference, evaluation_set, settings, progress)
        return [
            examiner.examine(result, result.obtained)
            for result in results
            if result.obtained is not None
        ]


def _runs_here(info: PlanInfo) -> bool:
    """True when this machine has the device that a plan is for, and its backend works."""
    return info.device in get_backend(info.backend).probe().devices


class _Examiner:
    """Holds what all examinations share."""

    def __init__(
        self,
        project: Project,
        reference: Engine,
        evaluation_set: EvaluationSet,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._project = project
        self._settings = settings
        self._reference = reference
        self._evaluation_set = evaluation_set
        self._samples = evaluation_set.samples
        self._options = RunOptions(threads=settings.engine_threads)
        self._progress = progress
        self._measured: dict[tuple[str, ...], Examination] = {}
        self._simulated: dict[str, Examination] = {}
        digests = sorted(sample.digest for sample in self._samples)
        self._photos = str(Digest.of("\n".join(digests).encode()))

    def examine(self, result: TargetResult, obtained: ObtainedPlan) -> Examination:
        info = obtained.plan.info
        if _runs_here(info):
            plan = _identity(info)
            if plan not in self._measured:
                self._measured[plan] = self._measure(result, obtained)
            return _limited(replace(self._measured[plan], result=result))
        if info.graph_digest not in self._simulated:
            self._simulated[info.graph_digest] = self._simulate(result, obtained)
        examination = _limited(replace(self._simulated[info.graph_digest], result=result))
        record = load_record(self._record_path(info))
        if record is None:
            return examination
        # What was measured stays; what is wanted of it is today's manifest's business.
        evaluation = structs.replace(
            record.evaluation,
            required=self._project.manifest.precision.accuracy.min_agreement,
            bounded=self._evaluation_set.bounded(result.target.precision),
        )
        return replace(examination, way="measured", evaluation=evaluation)

    def _measure(self, result: TargetResult, obtained: ObtainedPlan) -> Examination:
        info = obtained.plan.info
        options = run_options(obtained.plan, self._settings, threads=self._options.threads)
        with closing(get_backend(info.backend).load(obtained.plan, options)) as engine:
            proof, labelled = self._prove(result, engine)
            proof, trial, batches = self._try(engine, proof, info)
            evaluation = self._evaluate(result, engine, "measured")
            timing = self._time(obtained, engine, proof, trial.max_batch)
        if info.device != "cpu" and evaluation is not None:
            record = HardwareRecord(
                graph_digest=info.graph_digest,
                backend=info.backend,
                backend_version=info.backend_version,
                device=info.device,
                gpu=", ".join(gpu.name for gpu in probe_gpus()[:1]),
                evaluation=evaluation,
            )
            save_record(self._record_path(info), record)
        return Examination(result, "measured", proof, evaluation, labelled, timing, trial, batches)

    def _record_path(self, info: PlanInfo) -> Path:
        return record_path(self._settings.cache_path, info, self._photos)

    def _simulate(self, result: TargetResult, obtained: ObtainedPlan) -> Examination:
        try:
            engine = OnnxRuntimeBackend().load_model(obtained.graph.model, self._options)
        except EnginecrateError as exc:
            required = self._project.manifest.precision.accuracy.min_agreement
            nothing = Proof((), summarize((), required))
            return Examination(result, "not run", nothing, reason=str(exc))
        with closing(engine):
            proof, labelled = self._prove(result, engine)
            proof, trial, batches = self._try(engine, proof, obtained.plan.info)
            evaluation = self._known(result, obtained) or self._evaluate(
                result, engine, "simulated"
            )
        return Examination(
            result, "simulated", proof, evaluation, labelled, trial=trial, batches=batches
        )

    def _known(self, result: TargetResult, obtained: ObtainedPlan) -> Evaluation | None:
        """The evaluation of this very graph on all samples, when its gate has made one."""
        evaluation = result.graph.evaluation if result.graph else None
        if evaluation is None or evaluation.proof != "simulated" or obtained.remedied:
            return None
        whole = evaluation.photos + len(evaluation.skipped) == len(self._samples)
        return evaluation if whole else None

    def _evaluate(
        self, result: TargetResult, engine: Engine, way: Literal["measured", "simulated"]
    ) -> Evaluation | None:
        if not self._samples:
            return None
        bounded = self._evaluation_set.bounded(result.target.precision)
        evaluator = self._evaluation_set.evaluator
        return evaluator.evaluate(engine, way, self._progress, bounded=bounded)

    def _prove(self, result: TargetResult, engine: Engine) -> tuple[Proof, LabelledAccuracy | None]:
        project, golden = self._project, self._evaluation_set.photos.golden
        fallback = _made_up(project, engine.inputs, engine.max_batch)
        proof = prove(project, engine, self._reference, golden, fallback, self._progress)
        labelled = result.graph.labelled if result.graph else None
        if labelled is None and self._evaluation_set.labelled is not None:
            labelled = self._evaluation_set.labelled.measure(engine, self._progress)
        return proof, labelled

    def _try(
        self, engine: Engine, proof: Proof, info: PlanInfo
    ) -> tuple[Proof, TrialFacts, tuple[int, ...]]:
        """The proof with the contract of the ISV's own pipeline; the trial run, and its batches."""
        project, golden = self._project, self._evaluation_set.photos.golden
        self._progress("try the app", 0, 1)
        trial = run_trial(
            project.pipeline,
            project.manifest.pipeline,
            project.model,
            engine,
            reference=self._reference,
            precision=info.precision,
            profiles=project.profiles,
            known=proof.runs,
            proven=bool(proof.examined) and not proof.failures,
        )
        payloads = [sample.payload for sample in golden]
        payloads += [run.sample.payload for run in trial.runs]
        contract = contract_of(project, engine, next(iter(payloads), None))
        self._progress("try the app", 1, 1)
        facts, note = trial.facts, limit_note(info)
        if note:  # an earlier build has found it
            known = Finding("one-by-one", "", note)
            facts = structs.replace(facts, findings=(*facts.findings, known))
        batches = trial.batches.sizes if facts.max_batch > 1 else ()
        return replace(proof, contract=contract, runs=()), facts, batches

    def _time(self, obtained: ObtainedPlan, engine: Engine, proof: Proof, max_batch: int) -> Timing:
        """On golden samples that can be answered at all."""
        project = self._project
        info = obtained.plan.info
        fallback = _made_up(project, info.inputs, info.max_batch)
        payloads = [one.sample.payload for one in proof.examined if one.found is not None]
        return time_app(
            engine,
            project.pipeline,
            payloads,
            fallback,
            project.profiles,
            self._progress,
            max_batch=max_batch,
        )


def _made_up(project: Project, inputs: Sequence[TensorSpec], max_batch: int) -> Tensors | None:
    """Made-up tensors, with the manifest's constants for the inputs that have one."""
    tensors = synthetic_inputs(inputs, project.profiles, max_batch)
    if tensors is None:
        return None
    return {**tensors, **given_constants(project.manifest.pipeline, inputs)}


def _limited(examination: Examination) -> Examination:
    """An examination whose plan takes no larger batch than the trial allows, also on the disk."""
    result, trial = examination.result, examination.trial
    if result.obtained is None or trial is None:
        return examination
    plan = result.obtained.plan
    if plan.info.max_batch <= trial.max_batch:
        return examination
    note = next(str(one) for one in trial.findings if one.name == "one-by-one")
    plan = one_by_one(plan, note)
    obtained = replace(result.obtained, plan=plan, said=plan.info.notes)
    return replace(examination, result=replace(result, obtained=obtained))


def _identity(info: PlanInfo) -> tuple[str, ...]:
    """Plans with the same bytes run alike, whatever stack they are listed under."""
    files = (f"{name} {digest}" for name, digest in sorted(info.files.items()))
    return (info.backend, info.device, info.plan_digest, info.graph_digest, *files)
