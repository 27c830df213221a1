"""Accuracy is recovered: by better scales and rounding first, then by single layers in float.

`Recovery` is the record of it, for reports.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from enginecrate.builder.accuracy.candidates import load_candidate, proof_of
from enginecrate.builder.accuracy.evaluation import Evaluation, check_gate
from enginecrate.builder.accuracy.evaluation_set import EvaluationSet
from enginecrate.builder.accuracy.figures import Figure
from enginecrate.builder.accuracy.labelled import LabelledAccuracy, check_labelled_gate
from enginecrate.builder.project.photos import Photo
from enginecrate.builder.quantization.activations import Statistics, collect_statistics
from enginecrate.builder.quantization.range_search import tighten
from enginecrate.builder.quantization.sensitivity import LayerSensitivity, measure_sensitivity
from enginecrate.errors import AccuracyTooLow, NotWorthwhile
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.quantize import quantizable, quantize
from enginecrate.graph.quantize.ranges import Range
from enginecrate.graph.quantize.refinement import Refiner
from enginecrate.graph.typed import Scheme, TypedGraph, share_of
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["Recovery", "Subject", "quantize_accurately"]

_LEAST_SHARE = 0.6
"""Share of the multiply-adds that must stay in the low precision: less is another precision."""

_GROWTH = 1.5

_PLAIN = "quantise every layer"

_REFINED = "narrower ranges, weights rounded to fit the inputs, corrected biases"

_KEEP = "keep the most sensitive layers in float"


class KeptLayer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that stays in a higher precision.

    error: relative L2 distance of the outputs when this layer alone is quantised.
    share: of the model's multiply-adds.
    """

    node: str
    operator: str
    error: float
    share: float


class RecoveryStep(msgspec.Struct, frozen=True, kw_only=True):
    """One try: the action, how many layers were kept, and the agreement that came of it.

    missed: golden samples that were not met.
    """

    action: str
    kept: int
    share: float
    agreement: Figure
    missed: int = 0


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """The steps until the gate passed.

    steps: in order; the last one is what is shipped.
    kept: layers in a higher precision, most sensitive first.
    share: of the multiply-adds that stay in the low precision, 0..1.
    """

    steps: tuple[RecoveryStep, ...]
    kept: tuple[KeptLayer, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is to be quantised, with its ranges and photos.

    model: simplified, in FP32, with named nodes.
    ranges: from calibration. photos: those that it used.
    allow_mixed: whether layers may stay in float.
    """

    model: OnnxModel
    ranges: Mapping[str, Range]
    scheme: Scheme
    pipeline: Pipeline
    photos: Sequence[Photo]
    allow_mixed: bool = True

    @property
    def precision(self) -> Precision:
        """The precision of its quantised layers."""
        return Precision.FP8 if self.scheme is Scheme.FP8 else Precision.INT8


@dataclass(frozen=True, slots=True)
class Recovered:
    """A quantised graph that passed, and how it got there."""

    graph: TypedGraph
    evaluation: Evaluation
    labelled: LabelledAccuracy | None
    recovery: Recovery


@dataclass(frozen=True, slots=True)
class _Try:
    graph: TypedGraph
    evaluation: Evaluation
    labelled: LabelledAccuracy | None

    @property
    def passed(self) -> bool:
        accurate = self.labelled is None or self.labelled.passed
        return self.evaluation.passed and not self.evaluation.missed and accurate


def quantize_accurately(
    subject: Subject, evaluation_set: EvaluationSet, progress: Progress = no_progress
) -> Recovered:
    """Quantise; while the evaluation set is failed, recover.

    First every layer as calibration says. Then, with the same speed: narrower ranges, weights
    rounded to fit their inputs, corrected biases. Then more and more of the most sensitive layers
    in float, as long as at least 60 % of the multiply-adds stay quantised. Which layers that are
    is decided by accuracy alone, never by time, so the same inputs give the same graph. A golden
    sample that the model meets in FP32 is a gate, too.

    Raises:
        TooFewPhotos: the evaluation set cannot show that any graph is accurate enough, or not that
            the last one is.
        AccuracyTooLow: the gate is failed, and `allow_mixed` forbids to keep layers.
        NotWorthwhile: the gate is failed with as many layers in float as may be.
    """
    return _Recovery(subject, evaluation_set, progress).run()


class _Recovery:
    def __init__(self, subject: Subject, evaluation_set: EvaluationSet, progress: Progress) -> None:
        self._subject = subject
        self._evaluation_set = evaluation_set
        self._progress = progress
        self._steps: list[RecoveryStep] = []
        self._ranges = subject.ranges
        self._refiner: Refiner | None = None

    def run(self) -> Recovered:
        tried = self._try(_PLAIN, ())
        self._require_share(tried)
        what = f"the {self._subject.precision} graph"
        if tried.evaluation.is_hopeless:
            check_gate(tried.evaluation, what)
        if tried.passed:
            return self._result(tried, ())
        if self._subject.scheme is not Scheme.FP8:  # a floating-point type has no such steps
            self._refine()
            tried = self._try(_REFINED, ())
            if tried.passed:
                return self._result(tried, ())
        if not self._subject.allow_mixed:
            self._refuse(tried, what)
        return self._keep_layers(tried)

    def _keep_layers(self, tried: _Try) -> Recovered:
        ranked = measure_sensitivity(
            self._subject.model,
            self._make,
            self._subject.pipeline,
            self._subject.photos,
            self._subject.precision,
            self._progress,
        )
        candidates = _affordable(ranked, self._steps[-1].share)
        count = 0
        while count < len(candidates):
            count = min(len(candidates), max(count + 1, int(count * _GROWTH)))
            kept = candidates[:count]
            tried = self._try(_KEEP, kept)
            if tried.passed:
                return self._result(tried, kept)
        return self._give_up(tried)

    def _refine(self) -> None:
        subject = self._subject
        names = quantizable(subject.model, subject.scheme)
        statistics = self._statistics(names)
        self._ranges = tighten(subject.ranges, statistics.values, subject.scheme)
        self._refiner = Refiner(subject.model, statistics.moments)

    def _statistics(self, names: Sequence[str]) -> Statistics:
        subject = self._subject
        return collect_statistics(
            subject.model, subject.pipeline, subject.photos, names, self._progress
        )

    def _make(self, exclude: Collection[str]) -> TypedGraph:
        subject = self._subject
        graph = quantize(subject.model, self._ranges, subject.scheme, exclude=exclude)
        return graph if self._refiner is None else self._refiner.refine(graph)

    def _try(self, action: str, kept: Sequence[LayerSensitivity]) -> _Try:
        graph = self._make([one.node for one in kept])
        proof = proof_of(self._subject.scheme)
        with closing(load_candidate(graph.model, proof)) as engine:
            bounded = self._evaluation_set.bounded(self._subject.precision)
            evaluation = self._evaluation_set.evaluator.evaluate(
                engine, proof, self._progress, bounded=bounded
            )
            labelled = self._evaluation_set.labelled
            truth = labelled.measure(engine, self._progress) if labelled else None
        self._steps.append(
            RecoveryStep(
                action=action,
                kept=len(kept),
                share=round(share_of(self._subject.precision, graph.layers), 4),
                agreement=evaluation.agreement,
                missed=len(evaluation.missed),
            )
        )
        return _Try(graph, evaluation, truth)

    def _result(self, tried: _Try, kept: Sequence[LayerSensitivity]) -> Recovered:
        layers = tuple(
            KeptLayer(
                node=layer.node, operator=layer.operator, error=layer.error, share=layer.share
            )
            for layer in kept
        )
        share = self._steps[-1].share
        graph = tried.graph
        if kept:
            graph = TypedGraph(
                graph.model, graph.precision, graph.layers, (*graph.notes, *_notes(kept, share))
            )
        return Recovered(
            graph,
            tried.evaluation,
            tried.labelled,
            Recovery(steps=tuple(self._steps), kept=layers, share=share),
        )

    def _refuse(self, tried: _Try, what: str) -> NoReturn:
        check_gate(tried.evaluation, what)
        if tried.labelled is not None:
            check_labelled_gate(tried.labelled, what)
        raise AccuracyTooLow(
            f"{what} does not meet every golden sample: {_missed(tried.evaluation)}; calibrate "
            "with more photos like these, widen the tolerance in golden.json, or let single layers "
            "stay in a higher precision (precision.allow_mixed)",
            evaluation=tried.evaluation,
        )

    def _require_share(self, tried: _Try) -> None:
        layers, precision = tried.graph.layers, self._subject.precision
        share = self._steps[-1].share
        if share >= _LEAST_SHARE or not any(layer.macs for layer in layers):
            return
        left = [layer.node for layer in layers if layer.precision is not precision]
        raise NotWorthwhile(
            f"{precision.upper()} is not worthwhile for this model here: only {share:.0%} of its "
            f"multiply-adds can be in {precision.upper()} (at least {_LEAST_SHARE:.0%} must be); "
            f"these layers cannot: {', '.join(left[:5])}; build fp16",
            evaluation=tried.evaluation,
        )

    def _give_up(self, tried: _Try) -> Recovered:
        last = self._steps[-1]
        name = self._subject.precision.upper()
        truth = tried.labelled
        loss = "" if truth is None or truth.passed else f"; {truth.candidate}, {truth.reference}"
        if tried.evaluation.missed:
            loss += f"; golden samples that are not met: {_missed(tried.evaluation)}"
        elif tried.evaluation.verdict == "too few":
            check_gate(tried.evaluation, f"the {self._subject.precision} graph")
        raise NotWorthwhile(
            f"{name} is not worthwhile for this model here: with {last.kept} of "
            f"{len(tried.graph.layers)} layers in float and {last.share:.0%} of the multiply-adds "
            f"in {name} (at least {_LEAST_SHARE:.0%} must be): {tried.evaluation.agreement}{loss}; "
            f"the manifest requires {tried.evaluation.required:.3f} "
            "(precision.accuracy.min_agreement); calibrate with more photos like those that the "
            "app will see, or build fp16",
            evaluation=tried.evaluation,
        )


def _missed(evaluation: Evaluation) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in evaluation.missed)


def _affordable(ranked: Sequence[LayerSensitivity], share: float) -> list[LayerSensitivity]:
    """As many as may be kept, most sensitive first; one that is too large is passed over.

    share: of the multiply-adds that are quantised before.
    """
    kept: list[LayerSensitivity] = []
    for layer in ranked:
        if share - layer.share >= _LEAST_SHARE:
            kept.append(layer)
            share -= layer.share
    return kept


def _notes(kept: Sequence[LayerSensitivity], share: float) -> tuple[str, ...]:
    names = ", ".join(one.node for one in kept)
    return (
        f"{len(kept)} layers stay in FP32 so that the accuracy gate passes ({names}); "
        f"{share:.1%} of the multiply-adds are quantised",
    )
