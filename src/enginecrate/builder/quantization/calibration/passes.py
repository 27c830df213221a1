"""The passes over the photos: first for the extremes, then, where the method asks, to count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from enginecrate.builder.project.photos import Photo
from enginecrate.builder.quantization.calibration.collectors import Collector, Counts, Extremes
from enginecrate.builder.quantization.calibration.observer import (
    Observer,
    activation_bytes,
    activations,
    in_groups,
)
from enginecrate.builder.quantization.calibration.table import StateFile
from enginecrate.builder.quantization.calibration.thresholds import entropy_range, percentile_range
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.errors import CalibrationInvalid, PipelineError, TensorMismatch
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.quantize.ranges import Range
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Progress, Tensors

__all__ = ["Passes"]

_GROUP_BYTES = 256 * 2**20
"""Most activations of one photo that are looked at in one pass."""

_MEMORY_BYTES = 768 * 2**20
"""Most activations in memory at once: a machine with many cores runs fewer photos at a time."""

_BLOCK = 32
"""Photos between two entries in the state file: a few seconds of work for most models."""

_ENTROPY_BINS = 2048
"""As TensorRT's entropy calibrator has."""

_PERCENTILE_BINS = 8192
"""Finer: percentiles look at the far ends."""


class Passes:
    """Looks at the activations of one model on one set of photos."""

    def __init__(
        self,
        pipeline: Pipeline,
        model: OnnxModel,
        photos: Iterable[Photo],
        state: StateFile,
        progress: Progress,
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        # In the order of their digests: then the state fits whatever the files are called.
        self._photos = sorted(photos, key=lambda photo: photo.digest)
        self._state = state
        self._progress = progress
        self._sizes = activation_bytes(model, self._prepare(self._photos[0]))

    def extremes(self, needed: Sequence[str]) -> dict[str, Range]:
        """The smallest and the largest value of every activation.

        Args:
            needed: those that must be finite.

        Raises:
            CalibrationInvalid: one of them is not; the message names it, and the photo.
        """
        seen: dict[str, Range] = {}
        for group in self._groups(activations(self._model)):
            collector = Extremes(group)
            self._run(collector, needed)
            seen |= collector.ranges()
        return seen

    def percentiles(self, seen: Mapping[str, Range], percentile: float) -> dict[str, Range]:
        """Ranges that cover this share of the values, in %."""
        ranges: dict[str, Range] = {}
        for group in self._groups(seen):
            ends = {name: seen[name] for name in group}
            counts = Counts(ends, _PERCENTILE_BINS, magnitude=False)
            self._run(counts)
            ranges |= {
                name: percentile_range(histogram, seen[name], percentile)
                for name, histogram in counts.histograms().items()
            }
        return ranges

    def entropies(self, seen: Mapping[str, Range]) -> dict[str, Range]:
        """Ranges that keep most of the information."""
        ranges: dict[str, Range] = {}
        for group in self._groups(seen):
            counts = Counts({name: seen[name] for name in group}, _ENTROPY_BINS, magnitude=True)
            self._run(counts)
            for name, histogram in counts.histograms().items():
                self._progress("calibrate: thresholds", len(ranges), len(seen))
                ranges[name] = entropy_range(histogram, seen[name])
        return ranges

    def _groups(self, names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
        return tuple(in_groups(tuple(names), self._sizes, _GROUP_BYTES))

    def _run(self, collector: Collector, needed: Sequence[str] = ()) -> None:
        """One pass over all photos, or over those that an interrupted run has left."""
        total = len(self._photos)
        done = self._state.restore(collector)
        if done >= total:
            return
        with (
            closing(Observer(self._model, collector.names)) as observer,
            ThreadPoolExecutor(self._workers(collector.names)) as pool,
        ):
            while done < total:
                block = self._photos[done : done + _BLOCK]
                self._progress(collector.title, done, total)
                try:
                    results = pool.map(lambda photo: self._look(photo, observer, collector), block)
                    for photo, seen in zip(block, results, strict=True):
                        if needed:
                            _check_finite(photo, collector.names, needed, seen)
                        collector.add(seen)
                        done += 1
                        self._progress(collector.title, done, total)
                except BaseException:  # Ctrl-C among them: what is not begun need not begin
                    pool.shutdown(cancel_futures=True)
                    raise
                self._state.save(collector, done)

    def _look(self, photo: Photo, observer: Observer, collector: Collector) -> Any:
        return collector.look(observer.run(self._prepare(photo)))

    def _prepare(self, photo: Photo) -> Tensors:
        try:
            return self._pipeline.prepare(photo.read()).tensors
        except (PipelineError, TensorMismatch) as exc:
            raise CalibrationInvalid(f"the photo {photo.name!r} cannot be used: {exc}") from exc

    def _workers(self, names: Sequence[str]) -> int:
        size = sum(self._sizes.get(name, 0) for name in names)
        return max(1, min(available_cores(), _MEMORY_BYTES // max(size, 1)))


def _check_finite(photo: Photo, names: Sequence[str], needed: Sequence[str], seen: Any) -> None:
    must_be_finite = set(needed)
    for name, low, high in zip(names, *(ends.tolist() for ends in seen), strict=True):
        fine = low > high or (math.isfinite(low) and math.isfinite(high))
        if name in must_be_finite and not fine:
            raise CalibrationInvalid(
                f"on the photo {photo.name!r} the model computes values from {low:g} to {high:g} "
                f"in tensor {name!r}, which no scale fits; leave the photo out, or look in the "
                "model for a division by 0 or a logarithm of 0 before that tensor"
            )
