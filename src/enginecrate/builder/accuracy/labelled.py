"""Accuracy against the truth: top-1 on a folder for each class, mAP on a COCO file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from enginecrate.builder.accuracy.figures import Figure, share_figure
from enginecrate.builder.accuracy.labelled_boxes import BoxTruth, mean_average_precision, read_coco
from enginecrate.builder.accuracy.labelled_classes import ClassTruth, is_right, read_class_folders
from enginecrate.builder.project.project import Project
from enginecrate.engines.base import Engine
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.errors import AccuracyTooLow, EnginecrateError, EvaluationInvalid
from enginecrate.pipelines.base import Pipeline, Result
from enginecrate.values import Progress, no_progress

__all__ = [
    "LabelledAccuracy",
    "LabelledEvaluation",
    "check_labelled_gate",
    "labelled_files",
    "open_labelled",
]

_STEP = "measure against the truth"


class LabelledAccuracy(msgspec.Struct, frozen=True, kw_only=True):
    """The share that the reference and the candidate get right.

    metric: `top-1` or `mAP`.
    max_drop: most that the candidate may lie below the reference.
    """

    metric: str
    reference: Figure
    candidate: Figure
    max_drop: float

    @property
    def drop(self) -> float:
        """The distance by which the candidate is lower; negative when it is better."""
        return (self.reference.value or 0.0) - (self.candidate.value or 0.0)

    @property
    def passed(self) -> bool:
        """True when the drop is within what the manifest allows."""
        return self.drop <= self.max_drop + 1e-9


class LabelledEvaluation:
    """Measures candidates against the truth; runs the reference once."""

    def __init__(
        self,
        path: Path,
        reference: Engine,
        pipeline: Pipeline,
        labels: Sequence[str],
        max_drop: float,
        progress: Progress = no_progress,
    ) -> None:
        """Read the truth and run the reference on every photo.

        Args:
            path: a folder with one folder for each class, or a COCO JSON file.
            reference: the model as it was given.
            pipeline: the app's.
            labels: its class names.
            max_drop: most that a candidate may be worse, 0..1.
            progress: told about each photo.

        Raises:
            EvaluationInvalid: the truth cannot be read or does not fit the app.
            MissingExtra: a COCO file, and pycocotools is not installed.
        """
        self._pipeline = pipeline
        self._max_drop = max_drop
        self._classes: list[ClassTruth] = []
        self._boxes: BoxTruth | None = None
        if pipeline.task == "classification":
            self._classes = read_class_folders(path, labels)
        elif pipeline.task == "detection":
            self._boxes = read_coco(path, labels)
        else:
            raise EvaluationInvalid(
                f"precision.accuracy.labelled fits the tasks classification and detection, and "
                f"the app's is {pipeline.task!r}; remove the key"
            )
        self._reference = self._measure(reference, "FP32", progress)

    def measure(self, candidate: Engine, progress: Progress = no_progress) -> LabelledAccuracy:
        """Measure a candidate. A photo that it fails on is a wrong answer."""
        return LabelledAccuracy(
            metric="mAP" if self._boxes else "top-1",
            reference=self._reference,
            candidate=self._measure(candidate, "candidate", progress),
            max_drop=self._max_drop,
        )

    def _measure(self, engine: Engine, name: str, progress: Progress) -> Figure:
        if self._boxes is not None:
            paths = list(self._boxes.files.values())
            answers = self._run(engine, [path.read_bytes for path in paths], progress)
            results = dict(zip(self._boxes.files, answers, strict=True))
            return mean_average_precision(self._boxes, results, f"mAP of {name}")
        answers = self._run(engine, [one.photo.read for one in self._classes], progress)
        right = sum(map(is_right, self._classes, answers))
        return share_figure(f"top-1 of {name}", right, len(answers))

    def _run(
        self, engine: Engine, photos: Sequence[Callable[[], bytes]], progress: Progress
    ) -> list[Result | None]:
        workers = available_cores() if getattr(engine, "thread_safe", False) else 1
        answers: list[Result | None] = []
        with ThreadPoolExecutor(workers) as pool:
            try:
                for result in pool.map(lambda read: self._answer(engine, read), photos):
                    answers.append(result)
                    progress(_STEP, len(answers), len(photos))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return answers

    def _answer(self, engine: Engine, read: Callable[[], bytes]) -> Result | None:
        try:
            prepared = self._pipeline.prepare(read())
            return self._pipeline.finish(engine.run(prepared.tensors), prepared.context)
        except EnginecrateError:
            return None


def open_labelled(
    project: Project, reference: Engine, progress: Progress = no_progress
) -> LabelledEvaluation | None:
    """The labelled photos that the manifest names (`precision.accuracy.labelled`), or `None`.

    Raises:
        EvaluationInvalid, MissingExtra: as `LabelledExam`.
    """
    accuracy = project.manifest.precision.accuracy
    if accuracy.labelled is None:
        return None
    return LabelledEvaluation(
        project.root / accuracy.labelled,
        reference,
        project.pipeline,
        project.labels,
        accuracy.max_drop,
        progress,
    )


def labelled_files(path: Path) -> list[Path]:
    """Everything that the truth consists of, sorted: for the key of what was measured with it."""
    folder = path if path.is_dir() else path.parent
    return sorted(file for file in folder.rglob("*") if file.is_file())


def check_labelled_gate(accuracy: LabelledAccuracy, what: str) -> None:
    """Let a candidate pass, or not. Raises `AccuracyTooLow`."""
    if not accuracy.passed:
        raise AccuracyTooLow(
            f"{what} loses too much against the truth: {accuracy.candidate}, and "
            f"{accuracy.reference}: {accuracy.drop:.4f} lower, where "
            f"precision.accuracy.max_drop allows {accuracy.max_drop:.4f}; calibrate with more "
            "photos, or let single layers stay in a higher precision (precision.allow_mixed)"
        )
