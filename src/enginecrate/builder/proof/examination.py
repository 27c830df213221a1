"""Examine every plan that was made: golden samples, agreement with FP32, time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from enginecrate.builder.accuracy.comparison import summarize
from enginecrate.builder.accuracy.evaluation import Evaluation, Evaluator, exam_samples
from enginecrate.builder.accuracy.labelled import LabelledAccuracy, open_labelled
from enginecrate.builder.golden.samples import GoldenSample
from enginecrate.builder.plans.build_all import Made
from enginecrate.builder.plans.plan import ObtainedPlan, run_options
from enginecrate.builder.project.photos import Photo
from enginecrate.builder.project.project import Project
from enginecrate.builder.proof.golden_proof import Proof, prove, synthetic_inputs
from enginecrate.builder.proof.hardware_records import (
    HardwareRecord,
    load_record,
    record_path,
    save_record,
)
from enginecrate.builder.proof.timing import Timing, time_app
from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import EnginecrateError
from enginecrate.settings import Settings
from enginecrate.stacks.machine.devices import probe_gpus
from enginecrate.values import Digest, PlanInfo, Progress, no_progress

__all__ = ["Examination", "Way", "examine_plans", "runs_here"]

Way = Literal["measured", "simulated", "not run"]
"""How a plan was examined: itself; its graph, executed in float by onnxruntime with optimisations
off, since its device is not here; or not at all."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about one target's plan.

    evaluation: agreement with FP32; `None` without samples to compare with.
    labelled: against the truth, when the manifest names some.
    timing: only of plans that run here.
    reason: why it was not run.
    """

    made: Made
    way: Way
    proof: Proof
    evaluation: Evaluation | None = None
    labelled: LabelledAccuracy | None = None
    timing: Timing | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether a golden sample, the gate or the pipeline's contract says no."""
        return bool(
            self.proof.failures
            or not self.proof.accuracy.sufficient
            or self.proof.contract not in ("", "passed")
            or (self.evaluation is not None and not self.evaluation.passed)
            or (self.labelled is not None and not self.labelled.passed)
        )


def examine_plans(
    project: Project,
    made: Sequence[Made],
    golden: Sequence[GoldenSample],
    photos: Sequence[Photo],
    settings: Settings,
    progress: Progress = no_progress,
) -> list[Examination]:
    """Examine each plan; equal graphs that are simulated are run once.

    Args:
        project: whose plans they are.
        made: targets, those without a plan are left out of the answer.
        golden: samples with their expected results.
        photos: for the agreement with FP32; none of them used for calibration.
        settings: threads.
        progress: told what goes on.
    """
    options = RunOptions(threads=settings.engine_threads)
    with closing(OnnxRuntimeBackend().load_model(project.model, options)) as reference:
        examiner = _Examiner(project, reference, golden, photos, settings, progress)
        return list(examiner.examine(one for one in made if one.obtained is not None))


def runs_here(info: PlanInfo) -> bool:
    """Whether this machine has the device that a plan is for, and its backend works."""
    return info.device in get_backend(info.backend).probe().devices


class _Examiner:
    """Holds what all examinations share."""

    def __init__(
        self,
        project: Project,
        reference: Engine,
        golden: Sequence[GoldenSample],
        photos: Sequence[Photo],
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._project = project
        self._settings = settings
        self._reference = reference
        self._golden = golden
        self._options = RunOptions(threads=settings.engine_threads)
        self._progress = progress
        self._simulated: dict[str, Examination] = {}
        self._labelled = open_labelled(project, reference, progress)
        samples = exam_samples(golden, photos)
        self._photos = str(Digest.of("\n".join(sorted(one.digest for one in samples)).encode()))
        required = project.manifest.precision.accuracy.min_agreement
        self._evaluator = (
            Evaluator(reference, project.pipeline, samples, required, progress) if samples else None
        )

    def examine(self, made: Iterator[Made]) -> Iterator[Examination]:
        for one in made:
            if one.obtained is not None:
                yield self._examine(one, one.obtained)

    def _examine(self, made: Made, obtained: ObtainedPlan) -> Examination:
        info = obtained.plan.info
        if runs_here(info):
            return self._measure(made, obtained)
        if info.graph_digest not in self._simulated:
            self._simulated[info.graph_digest] = self._simulate(made, obtained)
        examination = replace(self._simulated[info.graph_digest], made=made)
        record = load_record(self._record_path(info))
        if record is None:
            return examination
        return replace(examination, way="measured", evaluation=record.evaluation)

    def _measure(self, made: Made, obtained: ObtainedPlan) -> Examination:
        info = obtained.plan.info
        options = run_options(obtained.plan, self._settings, threads=self._options.threads)
        with closing(get_backend(info.backend).load(obtained.plan, options)) as engine:
            judged = self._judge(made, engine, "measured")
            timing = self._time(obtained, engine, judged.proof)
        if info.device != "cpu" and judged.evaluation is not None:
            record = HardwareRecord(
                graph_digest=info.graph_digest,
                backend=info.backend,
                backend_version=info.backend_version,
                device=info.device,
                gpu=", ".join(gpu.name for gpu in probe_gpus()[:1]),
                evaluation=judged.evaluation,
            )
            save_record(self._record_path(info), record)
        return replace(judged, timing=timing)

    def _record_path(self, info: PlanInfo) -> Path:
        return record_path(self._settings.cache_path, info, self._photos)

    def _simulate(self, made: Made, obtained: ObtainedPlan) -> Examination:
        try:
            engine = OnnxRuntimeBackend().load_model(obtained.graph.model, self._options)
        except EnginecrateError as exc:
            required = self._project.manifest.precision.accuracy.min_agreement
            nothing = Proof((), summarize((), required), "")
            return Examination(made, "not run", nothing, reason=str(exc))
        with closing(engine):
            return self._judge(made, engine, "simulated")

    def _judge(
        self, made: Made, engine: Engine, way: Literal["measured", "simulated"]
    ) -> Examination:
        project = self._project
        fallback = synthetic_inputs(engine.inputs, project.profiles, engine.max_batch)
        proof = prove(project, engine, self._reference, self._golden, fallback, self._progress)
        evaluation = None
        if self._evaluator is not None:
            evaluation = self._evaluator.evaluate(engine, way, self._progress)
        labelled = made.variant.labelled if made.variant else None
        if labelled is None and self._labelled is not None:
            labelled = self._labelled.measure(engine, self._progress)
        return Examination(made, way, proof, evaluation, labelled)

    def _time(self, obtained: ObtainedPlan, engine: Engine, proof: Proof) -> Timing:
        """On golden samples that can be answered at all."""
        project = self._project
        info = obtained.plan.info
        fallback = synthetic_inputs(info.inputs, project.profiles, info.max_batch)
        payloads = [one.sample.payload for one in proof.examined if one.found is not None]
        return time_app(
            engine, project.pipeline, payloads, fallback, project.profiles, self._progress
        )
