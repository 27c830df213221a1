"""A candidate's agreement with the FP32 reference, on photos that it was not calibrated with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import msgspec

from enginecrate.builder.accuracy.comparison import Comparison, compare_results
from enginecrate.builder.accuracy.figures import Figure, agreement_figure, other_figures
from enginecrate.builder.accuracy.gate import (
    LEAST_PHOTOS,
    GateVerdict,
    judge,
    photos_needed,
)
from enginecrate.builder.golden.samples import GoldenSample
from enginecrate.builder.golden.tolerance import Tolerance, differences
from enginecrate.builder.project.photos import Photo
from enginecrate.engines.base import Engine
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.errors import (
    AccuracyTooLow,
    EnginecrateError,
    EvaluationInvalid,
    TooFewPhotos,
)
from enginecrate.pipelines.base import Pipeline, Prepared, Result
from enginecrate.values import Progress, Tensors, no_progress

__all__ = [
    "Evaluation",
    "EvaluationSample",
    "Evaluator",
    "Proof",
    "WorstPhoto",
    "check_gate",
    "evaluation_samples",
    "too_few",
]

Proof = Literal["measured", "simulated"]

_STEP = "compare with FP32"
_REFERENCE_STEP = "run the FP32 reference"
_OUTPUT_BYTES = 192 * 2**20
"""Most raw outputs of the reference that are kept; photos beyond are compared by their results."""

_WORST = 6
_TOLERANCE = Tolerance()


@dataclass(frozen=True, slots=True)
class EvaluationSample:
    """A photo to be examined with; `read` gives what a client would send.

    expected: the result, of a golden sample.
    """

    name: str
    digest: str
    read: Callable[[], bytes] = field(repr=False)
    tolerance: Tolerance = _TOLERANCE
    expected: Result | None = field(default=None, repr=False)


class WorstPhoto(msgspec.Struct, frozen=True, kw_only=True):
    """A photo on which both disagree. Results are as the pipeline answers them, as JSON.

    score: 0..1, how alike they are. failure: why the candidate gave no result.
    """

    name: str
    score: float
    reference: dict[str, Any]
    found: dict[str, Any] | None
    failure: str = ""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison on all photos.

    proof: `measured` on the backend itself, or `simulated`: the graph's Q/DQ pairs and casts
        executed in float by onnxruntime with every optimisation off.
    agreement: what the gate looks at. required: the gate.
    counted: photos that the agreement rests on: of a detector those with a box.
    bounded: the interval must show it (`gate`); else the agreement alone counts.
    missed: golden samples that the reference meets and the candidate does not, with the reason.
    figures: further metrics.
    worst: the photos that agree least, worst first; none that agree fully.
    skipped: photos that could not be used, with the reason.
    """

    task: str
    proof: Proof
    photos: int
    agreement: Figure
    required: float
    counted: int = 0
    bounded: bool = False
    missed: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...]
    worst: tuple[WorstPhoto, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def verdict(self) -> GateVerdict:
        """The gate's. Without `bounded` the agreement decides, and nothing to measure passes."""
        if self.bounded:
            return judge(self.agreement, self.counted, self.required)
        value = self.agreement.value
        return "passed" if value is None or value >= self.required else "failed"

    @property
    def passed(self) -> bool:
        """True when the gate lets the candidate pass."""
        return self.verdict == "passed"

    @property
    def is_hopeless(self) -> bool:
        """True when no candidate could pass, since there are too few photos."""
        if not self.bounded:
            return False
        least = photos_needed(None, self.counted, self.required, self.agreement.method)
        return self.agreement.value is None or least is None or self.counted < least


def evaluation_samples(
    golden: Sequence[GoldenSample], photos: Sequence[Photo]
) -> list[EvaluationSample]:
    """Golden samples and held-out photos in one list."""
    samples = [
        EvaluationSample(
            f"golden/{sample.name}",
            sample.name,
            partial(_payload, sample),
            sample.tolerance,
            sample.expected,
        )
        for sample in golden
    ]
    return samples + [EvaluationSample(photo.name, photo.digest, photo.read) for photo in photos]


def _payload(sample: GoldenSample) -> bytes:
    return sample.payload


@dataclass(frozen=True, slots=True)
class _Reference:
    """The reference's answer to one sample. outputs: kept while there is room."""

    sample: EvaluationSample
    result: Result
    outputs: Tensors | None


class Evaluator:
    """Compares candidates with one reference on the same samples; runs the reference once."""

    def __init__(
        self,
        reference: Engine,
        pipeline: Pipeline,
        samples: Sequence[EvaluationSample],
        required: float,
        progress: Progress = no_progress,
    ) -> None:
        """Run the reference on every sample.

        Args:
            reference: the model as it was given.
            pipeline: the app's, with its own thresholds.
            samples: none of them used for calibration.
            required: least agreement, 0..1.
            progress: told about each sample.

        Raises:
            EvaluationInvalid: the reference gives a result for none of them.
        """
        self._pipeline = pipeline
        self._required = required
        self._skipped: list[tuple[str, str]] = []
        self._references = self._run_reference(reference, samples, progress)
        if samples and not self._references:
            name, reason = self._skipped[0]
            raise EvaluationInvalid(
                f"the model as it was given answers none of the {len(samples)} photos that "
                f"accuracy is measured with ({name}: {reason}); replace them, or correct the "
                "pipeline"
            )

    def evaluate(
        self,
        candidate: Engine,
        proof: Proof,
        progress: Progress = no_progress,
        *,
        bounded: bool = False,
    ) -> Evaluation:
        """Run the candidate on the same samples. What it fails on counts as disagreement.

        Args:
            candidate: the engine.
            proof: the way in which it runs.
            progress: told about each sample.
            bounded: the interval of the agreement must show it.
        """
        pairs: list[tuple[Comparison, Result | None]] = []
        total = len(self._references)
        with ThreadPoolExecutor(_workers(candidate)) as pool:
            try:
                for pair in pool.map(lambda one: self._compare(one, candidate), self._references):
                    pairs.append(pair)
                    progress(_STEP, len(pairs), total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        compared = [comparison for comparison, _ in pairs]
        task = self._pipeline.task
        return Evaluation(
            task=task,
            proof=proof,
            photos=total,
            agreement=agreement_figure(task, compared),
            required=self._required,
            counted=sum(1 for one in compared if one.wanted) if task == "detection" else total,
            bounded=bounded,
            missed=tuple(self._missed(result for _, result in pairs)),
            figures=other_figures(task, compared),
            worst=self._worst(pairs),
            skipped=tuple(self._skipped),
        )

    def _run_reference(
        self, engine: Engine, samples: Sequence[EvaluationSample], progress: Progress
    ) -> list[_Reference]:
        references: list[_Reference] = []
        room = _OUTPUT_BYTES
        with ThreadPoolExecutor(_workers(engine)) as pool:
            runs = pool.map(lambda sample: self._try(engine, sample), samples)
            for done, (sample, answer) in enumerate(zip(samples, runs, strict=True), 1):
                progress(_REFERENCE_STEP, done, len(samples))
                if isinstance(answer, str):
                    self._skipped.append((sample.name, answer))
                    continue
                result, outputs = answer
                room -= sum(array.nbytes for array in outputs.values())
                references.append(_Reference(sample, result, outputs if room >= 0 else None))
        return references

    def _try(self, engine: Engine, sample: EvaluationSample) -> tuple[Result, Tensors] | str:
        try:
            prepared = self._pipeline.prepare(sample.read())
            return self._answer(engine, prepared)
        except EnginecrateError as exc:
            return str(exc)
        except Exception as exc:  # an ISV's pipeline may raise anything
            return f"{type(exc).__name__}: {exc}"

    def _answer(self, engine: Engine, prepared: Prepared) -> tuple[Result, Tensors]:
        outputs = engine.run(prepared.tensors)
        return self._pipeline.finish(outputs, prepared.context), outputs

    def _compare(
        self, reference: _Reference, candidate: Engine
    ) -> tuple[Comparison, Result | None]:
        answer = self._try(candidate, reference.sample)
        if isinstance(answer, str):
            count = max(1, len(getattr(reference.result, "detections", [0])))
            return Comparison(score=0.0, hits=0, wanted=count, found=0, failure=answer), None
        result, outputs = answer
        both = (reference.outputs, outputs) if reference.outputs is not None else None
        tolerance = reference.sample.tolerance
        return compare_results(reference.result, result, both, tolerance), result

    def _missed(self, results: Iterable[Result | None]) -> Iterator[tuple[str, str]]:
        """What golden samples say about the candidate, but for those that are wrong of FP32."""
        for reference, result in zip(self._references, results, strict=True):
            sample = reference.sample
            if sample.expected is None or result is None:
                continue
            if differences(sample.expected, reference.result, sample.tolerance):
                continue
            for reason in differences(sample.expected, result, sample.tolerance)[:1]:
                yield sample.name, reason

    def _worst(self, pairs: Sequence[tuple[Comparison, Result | None]]) -> tuple[WorstPhoto, ...]:
        ranked = sorted(
            (comparison.score, index)
            for index, (comparison, _) in enumerate(pairs)
            if comparison.score < 1
        )
        return tuple(
            WorstPhoto(
                name=self._references[index].sample.name,
                score=round(score, 4),
                reference=msgspec.to_builtins(self._references[index].result),
                found=msgspec.to_builtins(pairs[index][1]) if pairs[index][1] else None,
                failure=pairs[index][0].failure,
            )
            for score, index in ranked[:_WORST]
        )


def check_gate(evaluation: Evaluation, what: str) -> None:
    """Let a candidate pass, or not.

    Args:
        evaluation: of the candidate.
        what: the candidate, for the message: "the int8 graph".

    Raises:
        AccuracyTooLow: the agreement is below what the manifest requires; `evaluation` is on it.
        TooFewPhotos: it is not, and too few photos show it. As before.
    """
    if evaluation.passed:
        return
    if evaluation.verdict == "too few":
        raise TooFewPhotos(f"{what}: {too_few(evaluation)}", evaluation=evaluation)
    worst = ", ".join(one.name for one in evaluation.worst[:3])
    raise AccuracyTooLow(
        f"{what} agrees too seldom with the model as it was given: {evaluation.agreement}, "
        f"{evaluation.proof}; the manifest requires {evaluation.required:.3f} "
        f"(precision.accuracy.min_agreement); worst photos: {worst or 'none'}; calibrate with more "
        "photos like those that the app will see, choose another method or precision, or let "
        "single layers stay in a higher precision (precision.allow_mixed)",
        evaluation=evaluation,
    )


def too_few(evaluation: Evaluation) -> str:
    """The reason why it cannot be said whether a candidate is accurate enough, with the cure."""
    agreement, required = evaluation.agreement, evaluation.required
    known = None if evaluation.is_hopeless else agreement
    needed = photos_needed(known, evaluation.counted, required, agreement.method)
    boxes = " with boxes" if evaluation.task == "detection" else ""
    if needed is None:
        count = "no number of photos can show that, so lower the requirement"
    elif evaluation.is_hopeless:
        count = f"at least {needed} photos{boxes} are needed for that"
    else:
        count = f"about {needed} photos{boxes} would show it"
    return (
        f"too few photos to say whether it is accurate enough: {agreement}, {evaluation.proof} on "
        f"{evaluation.counted} photos{boxes}; the manifest requires {required:.3f} "
        "(precision.accuracy.min_agreement), and the lower end of the interval must reach it, on "
        f"{LEAST_PHOTOS} photos or more; {count}; add photos to precision.accuracy.images (without "
        "it a fifth of the calibration photos is held out), or accept what few photos say: "
        "[precision] accept_few = true (where the app runs: calibrate --accept-few)"
    )


def _workers(engine: Engine) -> int:
    return available_cores() if getattr(engine, "thread_safe", False) else 1
