"""The trial run of an app: shipped photos through prepare, run and finish; the answers are checked.

    trial = run_trial(pipeline, spec, model, engine)
    for finding in trial.findings: ...

It needs no golden sample, and it proves no answer right: it finds apps whose answers cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from enginecrate.builder.golden.tolerance import Tolerance, differences
from enginecrate.builder.trial.answers import check_outputs, check_result, far
from enginecrate.builder.trial.batches import (
    BatchCheck,
    Runner,
    Single,
    check_batches,
)
from enginecrate.builder.trial.findings import ONE_BY_ONE, Finding, TrialFacts
from enginecrate.builder.trial.samples import (
    Sample,
    as_archive,
    shipped_photos,
    synthetic_inputs,
)
from enginecrate.engines.base import RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import EnginecrateError
from enginecrate.graph.describe.heads import output_heads
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.pipelines.base import DetectionResult, Pipeline, Prepared, Result
from enginecrate.pipelines.classification import ClassificationPipeline
from enginecrate.pipelines.detection import DetectionPipeline
from enginecrate.pipelines.loader import create_pipeline
from enginecrate.values import PipelineSpec, Precision, Profile, Tensors

__all__ = [
    "BUILD_SECONDS",
    "START_SECONDS",
    "Trial",
    "TrialRun",
    "run_trial",
    "try_batches",
    "try_model",
]

BUILD_SECONDS = 0.5
"""Time for the largest batch in a build."""

START_SECONDS = 0.25
"""The same while a server starts."""

_SEEDS = (20, 21)

_OPEN_SIZE = 8
"""Of dimensions whose size only the vendor knows."""

_MOST_BOXES = 100
"""Boxes of a result that are compared, best first."""

_SAME_BOX = 0.8
"""Least overlap of a box out of a batch with the box that the sample gets alone."""

_SAME_SCORE = 0.02
"""Difference of its score, as a share of the best one."""

_LEAST_SCORE = 2e-4
"""Scores are rounded to 4 digits."""

_PROBABILITIES = 1e-3
"""Distance of a sum from 1 that rounding makes."""

_SUM = 0.02


@dataclass(frozen=True, slots=True)
class TrialRun:
    """One sample that ran from its bytes to its result."""

    sample: Sample
    prepared: Prepared
    outputs: Tensors
    result: Result

    @property
    def single(self) -> Single:
        """The part that batches are compared with."""
        return Single(self.sample.name, self.prepared.tensors, self.outputs)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial run.

    runs: samples that gave a result.
    max_batch: the largest batch that may be served; 1: one by one; 0: there is no batch.
    """

    runs: tuple[TrialRun, ...]
    batches: BatchCheck
    max_batch: int
    findings: tuple[Finding, ...] = field(default=())

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that keep the app from being served."""
        return tuple(finding for finding in self.findings if finding.fault)

    @property
    def facts(self) -> TrialFacts:
        """The part that a report keeps."""
        names = tuple(run.sample.name for run in self.runs)
        return TrialFacts(
            samples=names,
            max_batch=self.max_batch,
            findings=self.findings,
        )


def run_trial(
    pipeline: Pipeline,
    spec: PipelineSpec,
    model: OnnxModel,
    engine: Runner,
    *,
    reference: Runner | None = None,
    precision: Precision = Precision.FP32,
    profiles: Sequence[Profile] = (),
    seconds: float = BUILD_SECONDS,
    known: Sequence[TrialRun] = (),
    proven: bool = False,
) -> Trial:
    """Try an app on the photos that ship with the program; without photos, on made-up tensors.

    Args:
        pipeline: of the app.
        spec: its `[pipeline]` section.
        model: as the vendor gave it; what its graph holds decides what its answers must keep.
        engine: runs the model, or a plan of it.
        reference: runs the model as it was given, without optimisation; compared with an FP32 plan.
        precision: of the engine's plan.
        profiles: of the project: sizes of made-up tensors.
        seconds: that the largest batch may take.
        known: samples that were run alone already; batches are made of them first.
        proven: golden samples gave the expected results: what the photos show is a remark then.
    """
    check = _Check(pipeline, spec, model, engine)
    findings: list[Finding] = []
    runs = check.run(profiles, findings)
    for run in runs:
        findings.extend(check.answer(run))
        if reference is not None and precision is Precision.FP32:
            findings.extend(check.numbers(run, reference))
    findings.extend(check.classes(runs))
    findings.extend(check.candidates(runs))
    batches, max_batch, words = check.batches([*known, *runs], precision, seconds)
    findings.extend(words)
    if proven:
        findings = [msgspec.structs.replace(finding, fault=False) for finding in findings]
    return Trial(tuple(runs), batches, max_batch, tuple(dict.fromkeys(findings)))


def try_model(
    model: OnnxModel, spec: PipelineSpec, labels: Sequence[str] = (), root: Path = Path()
) -> Trial:
    """Try a `[pipeline]` section on a model, run by onnxruntime as it is.

    Args:
        model: as the vendor gave it.
        spec: the section.
        labels: the class names; empty when there are none.
        root: the folder in which `[pipeline] module` is found.

    Raises:
        PipelineError, LabelsInvalid: the section does not fit the model.
        PlanBuildFailed: onnxruntime refuses the model.
    """
    pipeline = create_pipeline(spec, model.inputs, model.outputs, labels, root)
    with closing(OnnxRuntimeBackend().load_model(model, RunOptions())) as engine:
        return run_trial(pipeline, spec, model, engine, seconds=START_SECONDS)


def try_batches(
    pipeline: Pipeline,
    spec: PipelineSpec,
    model: OnnxModel,
    engine: Runner,
    runs: Sequence[TrialRun],
    *,
    precision: Precision,
    seconds: float,
) -> Trial:
    """The part of `run_trial` that is about batches, on samples that were run alone already."""
    check = _Check(pipeline, spec, model, engine)
    batches, max_batch, findings = check.batches(runs, precision, seconds)
    return Trial(tuple(runs), batches, max_batch, tuple(findings))


class _Check:
    """Holds the app. One rule for each method."""

    def __init__(
        self, pipeline: Pipeline, spec: PipelineSpec, model: OnnxModel, engine: Runner
    ) -> None:
        self.pipeline = pipeline
        self.spec = spec
        self.model = model
        self.engine = engine
        self.heads = output_heads(model.proto).values()
        self.takes_photos = spec.task != "tensors" or spec.module is not None

    def run(self, profiles: Sequence[Profile], findings: list[Finding]) -> list[TrialRun]:
        """The runs that gave a result; what failed becomes a finding."""
        if not self.takes_photos:
            return self._run_tensors(profiles, findings)
        faults: list[Finding] = []
        runs = self._try(shipped_photos(), faults)
        if not runs and self.spec.task == "tensors":
            runs = self._try(self._tensors(profiles), [])  # a class of one's own that takes tensors
            faults = [] if runs else faults
        findings.extend(faults)
        return runs

    def _run_tensors(self, profiles: Sequence[Profile], findings: list[Finding]) -> list[TrialRun]:
        """Runs with made-up tensors; where their sizes are made up, too, no failure is a fault."""
        faults: list[Finding] = []
        runs = self._try(self._tensors(profiles), faults)
        if runs or self._sizes_known(profiles):
            findings.extend(faults)
            return runs
        words = "nothing was run: the model's inputs have sizes that only you know; name them in "
        words += "model.profiles, or record golden samples"
        findings.append(Finding("not-run", "", words))
        return []

    def _tensors(self, profiles: Sequence[Profile]) -> list[Sample]:
        made = [
            synthetic_inputs(
                self.engine.inputs,
                profiles,
                self.engine.max_batch,
                seed,
                None if profiles else _OPEN_SIZE,
            )
            for seed in _SEEDS
        ]
        return [
            Sample(f"made-up tensors {number}", as_archive(tensors))
            for number, tensors in enumerate(made, start=1)
            if tensors is not None
        ]

    def _sizes_known(self, profiles: Sequence[Profile]) -> bool:
        """True when made-up tensors have sizes that the model must take."""
        first = 1 if self.engine.max_batch else 0
        return bool(profiles) or all(-1 not in spec.shape[first:] for spec in self.engine.inputs)

    def _try(self, samples: Sequence[Sample], findings: list[Finding]) -> list[TrialRun]:
        runs: list[TrialRun] = []
        for sample in samples:
            try:
                runs.append(self._run(sample))
            except EnginecrateError as exc:
                findings.append(Finding("error", sample.name, str(exc), fault=True))
            except Exception as exc:  # a vendor's pipeline may raise anything
                words = f"{type(exc).__name__}: {exc}"
                findings.append(Finding("error", sample.name, words, fault=True))
        return runs

    def _run(self, sample: Sample) -> TrialRun:
        prepared = self.pipeline.prepare(sample.payload)
        outputs = self.engine.run(prepared.tensors)
        return TrialRun(sample, prepared, outputs, self.pipeline.finish(outputs, prepared.context))

    def answer(self, run: TrialRun) -> Iterator[Finding]:
        """The outputs and the result of one sample."""
        yield from check_outputs(
            run.outputs, self.engine.outputs, run.sample.name, real=self.takes_photos
        )
        yield from check_result(run.result, self.spec, run.sample.name)

    def numbers(self, run: TrialRun, reference: Runner) -> Iterator[Finding]:
        """An FP32 plan computes what onnxruntime computes without optimisation."""
        expected = reference.run(run.prepared.tensors)
        wrong = next((name for name in expected if far(expected[name], run.outputs[name])), "")
        if not wrong or self._same_boxes(run, expected):
            return
        again = self.engine.run(run.prepared.tensors)
        if any(far(run.outputs[name], again[name]) for name in again):
            yield Finding("numbers", "", "the model gives other numbers in every run")
            return
        yield Finding(
            "numbers",
            run.sample.name,
            f"the plan's output {wrong!r} differs from the one that onnxruntime computes without "
            "optimisation; report it, with the model if you may",
            fault=True,
        )

    def classes(self, runs: Sequence[TrialRun]) -> Iterator[Finding]:
        """Classes sum to 1 where they should, and no softmax is applied to a softmax."""
        if not isinstance(self.pipeline, ClassificationPipeline) or not runs:
            return
        raw = [self.pipeline.raw_scores(run.outputs) for run in runs]
        sums = [float(scores.sum()) for scores in raw]
        if self.spec.activation != "none":
            done = all(
                scores.size > 1 and scores.min() >= 0 and abs(total - 1) < _PROBABILITIES
                for scores, total in zip(raw, sums, strict=True)
            )
            if done:
                yield Finding(
                    "softmax-twice",
                    "",
                    "the model's numbers are probabilities already: they sum to 1 on every photo; "
                    'set [pipeline] activation = "none"',
                )
        elif all(head.kind == "softmax" for head in self.heads) and any(
            abs(total - 1) > _SUM for total in sums
        ):
            yield Finding(
                "sum",
                "",
                f"the classes sum to {sums[0]:.4g} instead of 1, although the model ends in a "
                "Softmax: it runs over another axis than the classes; export the model again",
                fault=True,
            )

    def candidates(self, runs: Sequence[TrialRun]) -> Iterator[Finding]:
        """A detector has a candidate at a threshold of 0, unless it suppresses by itself."""
        if not runs or self.spec.task != "detection":
            return
        found = [run.result for run in runs]
        if isinstance(self.pipeline, DetectionPipeline):
            low = self.pipeline.at_threshold(0.0)
            try:
                found = [low.finish(run.outputs, run.prepared.context) for run in runs]
            except EnginecrateError as exc:
                yield Finding("error", "", f"at a threshold of 0: {exc}", fault=True)
                return
        if any(isinstance(result, DetectionResult) and result.detections for result in found):
            return
        if self.own_threshold:
            yield Finding(
                "silent",
                "",
                "nothing was found on any photo; the model or the pipeline drops boxes by itself, "
                "so this may be right: record a golden sample with a photo that shows something",
            )
            return
        yield Finding(
            "silent",
            "",
            "no candidate on any photo, even at a threshold of 0: the scores are below 0, or not "
            "where the decoder reads them; set [pipeline] decoder_options (activation, kind, "
            "channels), or another decoder",
            fault=True,
        )

    @property
    def own_threshold(self) -> bool:
        """True when the model, or a class of the vendor, drops candidates before we see them."""
        if not isinstance(self.pipeline, DetectionPipeline):
            return True
        return not self.pipeline.needs_nms or any(head.suppressed for head in self.heads)

    def batches(
        self, runs: Sequence[TrialRun], precision: Precision, seconds: float
    ) -> tuple[BatchCheck, int, list[Finding]]:
        """The batch check, the largest batch that may be served, and what there is to say."""
        batches = check_batches(
            self.engine,
            [run.single for run in runs],
            precision,
            seconds=seconds,
            same_result=self.same_result(runs),
        )
        max_batch, findings = self.limit(batches)
        return batches, max_batch, findings if runs else []

    def same_result(self, runs: Sequence[TrialRun]) -> Callable[[Single, Tensors], bool]:
        """A judge of outputs that differ."""
        known = {run.sample.name: run for run in runs}

        def same(single: Single, outputs: Tensors) -> bool:
            run = known.get(single.name)
            return run is not None and self._same_boxes(run, outputs)

        return same

    def _same_boxes(self, run: TrialRun, outputs: Tensors) -> bool:
        """True when outputs that differ give the same boxes, in whatever order."""
        if not isinstance(self.pipeline, DetectionPipeline):
            return False
        return _same_boxes(
            self.pipeline.at_threshold(0.0), run.outputs, outputs, run.prepared.context
        )

    def limit(self, batches: BatchCheck) -> tuple[int, list[Finding]]:
        """The largest batch that may be served, and what there is to say about it."""
        most = self.engine.max_batch
        if batches.mixed:
            words = f"{batches.mixed}: {ONE_BY_ONE}; export the model with a dynamic batch for "
            return min(most, 1), [Finding("one-by-one", "", f"{words}larger ones")]
        if batches.unseen and self.spec.task == "detection" and self.own_threshold:
            words = f"{batches.unseen}, so it is not known whether a batch spoils answers: "
            words += f"{ONE_BY_ONE}; record a golden sample that shows something"
            return min(most, 1), [Finding("one-by-one", "", words)]
        if batches.unseen:
            return most, [Finding("batch-unseen", "", f"batches were not tried: {batches.unseen}")]
        return most, []


def _same_boxes(pipeline: DetectionPipeline, alone: Tensors, found: Tensors, context: Any) -> bool:
    try:
        expected = pipeline.finish(alone, context)
        actual = pipeline.finish(found, context)
    except EnginecrateError:
        return False
    results = expected, actual = _shortened(expected), _shortened(actual)
    best = max((box.score for result in results for box in result.detections), default=0.0)
    full = [result for result in results if len(result.detections) == _MOST_BOXES]
    tolerance = Tolerance(
        score=max(_SAME_SCORE * best, _LEAST_SCORE),
        iou=_SAME_BOX,
        threshold=max((result.detections[-1].score for result in full), default=0.0),
    )
    return not differences(expected, actual, tolerance)


def _shortened(result: DetectionResult) -> DetectionResult:
    return msgspec.structs.replace(result, detections=result.detections[:_MOST_BOXES])
