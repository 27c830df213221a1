"""The evaluation set: every graph and every plan of a project is compared with FP32 on it."""

from __future__ import annotations

from contextlib import closing
from functools import cached_property

from enginecrate.builder.accuracy.candidates import load_candidate
from enginecrate.builder.accuracy.evaluation import EvaluationSample, Evaluator, evaluation_samples
from enginecrate.builder.accuracy.labelled import LabelledEvaluation, open_labelled
from enginecrate.builder.accuracy.labelled_boxes import require_coco
from enginecrate.builder.project.photo_split import ProjectPhotos
from enginecrate.builder.project.project import Project
from enginecrate.graph.typed import QUANTISED
from enginecrate.values import Precision, Progress, no_progress

__all__ = ["EvaluationSet"]


class EvaluationSet:
    """Golden samples and held-out photos, and photos with the truth where there are some.

    The reference, which is the model as it was given, runs on each of them once, at first use.
    Its results are kept, and of its raw outputs as many as `Evaluator` has room for.
    """

    def __init__(
        self, project: Project, photos: ProjectPhotos, progress: Progress = no_progress
    ) -> None:
        """Nothing runs yet. `progress` is told about each sample."""
        self.photos = photos
        self._project = project
        self._progress = progress

    @property
    def samples(self) -> list[EvaluationSample]:
        """The golden samples and the held-out photos."""
        return evaluation_samples(self.photos.golden, self.photos.examined)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Compares with the reference on all samples. Raises `EvaluationInvalid`."""
        return self._evaluator(self.samples)

    def bounded(self, precision: Precision) -> bool:
        """True when the interval of an agreement must show that it is high enough.

        Quantised precisions only: the others differ by rounding alone, and their overflows show on
        a single photo. `precision.accept_few` lets the agreement decide.
        """
        return precision in QUANTISED and not self._project.manifest.precision.accept_few

    def check_packages(self) -> None:
        """Check that what the truth is compared with is installed. Raises `MissingExtra`."""
        named = self._project.manifest.precision.accuracy.labelled
        if named is not None and self._project.pipeline.task == "detection":
            require_coco()

    def run_reference(self) -> None:
        """Run the reference now: what is wrong with photos or truth is told before other faults."""
        _ = self.evaluator, self.labelled

    def few_evaluator(self) -> Evaluator:
        """Compares on as many photos as a graph without quantisation needs."""
        few = self.photos.few()
        if len(few.examined) == len(self.photos.examined):
            return self.evaluator
        return self._evaluator(evaluation_samples(few.golden, few.examined))

    @cached_property
    def labelled(self) -> LabelledEvaluation | None:
        """Compares with the truth; `None` when the manifest names none.

        Raises:
            EvaluationInvalid, MissingExtra: as `open_labelled`.
        """
        if self._project.manifest.precision.accuracy.labelled is None:
            return None
        with closing(load_candidate(self._project.model, "simulated")) as reference:
            return open_labelled(self._project, reference, self._progress)

    def _evaluator(self, samples: list[EvaluationSample]) -> Evaluator:
        required = self._project.manifest.precision.accuracy.min_agreement
        with closing(load_candidate(self._project.model, "simulated")) as reference:
            pipeline = self._project.pipeline
            return Evaluator(reference, pipeline, samples, required, self._progress)
