"""Golden samples: inputs with their expected results, which prove that an app is right.

They live in one folder with a file `golden.json`:

    {"format": 1, "samples": [
      {"input": "astronaut.png",
       "expected": {... the result as the pipeline gives it ...},
       "tolerance": {"score": 0.05, "iou": 0.9}}]}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from enginecrate.builder.golden.file import GOLDEN_NAME, GoldenEntry, read_golden_file
from enginecrate.builder.golden.record import record_golden
from enginecrate.builder.golden.tolerance import Tolerance, differences
from enginecrate.errors import EnginecrateError, GoldenInvalid
from enginecrate.pipelines.base import (
    ClassificationResult,
    DetectionResult,
    Result,
    TensorsResult,
)

__all__ = [
    "GoldenOutcome",
    "GoldenReport",
    "GoldenSample",
    "as_result",
    "check_golden",
    "check_sample",
    "load_golden",
    "record_golden",
]

_KINDS: dict[str, type[Any]] = {
    "detections": DetectionResult,
    "classes": ClassificationResult,
    "outputs": TensorsResult,
}


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One input with its expected result. `payload` is what a client would send."""

    name: str
    payload: bytes = field(repr=False)
    expected: Result
    tolerance: Tolerance


@dataclass(frozen=True, slots=True)
class GoldenOutcome:
    """The outcome of one sample. `reasons` is empty when it passed."""

    name: str
    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """The outcome of all samples. No sample at all is no proof: then it has not passed."""

    passed: bool
    outcomes: tuple[GoldenOutcome, ...]


def load_golden(folder: Path) -> list[GoldenSample]:
    """Read every golden sample; an empty list when the folder has no `golden.json`.

    Raises:
        GoldenInvalid: the file cannot be read or does not follow the format, or an input is
            missing or lies outside of the folder.
    """
    content = read_golden_file(folder)
    if content is None:
        return []
    return [
        _sample(folder, entry, f"{folder / GOLDEN_NAME}: sample {number}")
        for number, entry in enumerate(content.samples)
    ]


def check_golden(
    predict: Callable[[bytes], Result], samples: Sequence[GoldenSample]
) -> GoldenReport:
    """Run every sample and compare its result with the expected one.

    Whatever `predict` raises is an outcome, not an error: the sample has failed.
    """
    outcomes = tuple(_run(predict, sample) for sample in samples)
    return GoldenReport(bool(outcomes) and all(one.passed for one in outcomes), outcomes)


def check_sample(sample: GoldenSample, result: Result) -> GoldenOutcome:
    """Compare one result with the expected one."""
    reasons = tuple(differences(sample.expected, result, sample.tolerance))
    return GoldenOutcome(sample.name, not reasons, reasons)


def _run(predict: Callable[[bytes], Result], sample: GoldenSample) -> GoldenOutcome:
    try:
        result = predict(sample.payload)
    except EnginecrateError as exc:
        return GoldenOutcome(sample.name, False, (str(exc),))
    except Exception as exc:  # an ISV's pipeline may raise anything
        return GoldenOutcome(sample.name, False, (f"{type(exc).__name__}: {exc}",))
    return check_sample(sample, result)


def _sample(folder: Path, entry: GoldenEntry, where: str) -> GoldenSample:
    if PurePosixPath(entry.input).name != entry.input or entry.input in ("", "..", "."):
        raise GoldenInvalid(
            f"{where}: input {entry.input!r} must be the plain name of a file in {folder}"
        )
    try:
        payload = (folder / entry.input).read_bytes()
    except OSError as exc:
        raise GoldenInvalid(
            f"{where}: cannot read {folder / entry.input}: {exc.strerror}; copy the file there, "
            "or remove the sample"
        ) from exc
    return GoldenSample(entry.input, payload, _expected(entry.expected, where), entry.tolerance)


def _expected(content: dict[str, Any], where: str) -> Result:
    try:
        return as_result(content)
    except KeyError:
        raise GoldenInvalid(
            f"{where}: expected must be a result with one of {', '.join(_KINDS)}; record the "
            "sample again: enginecrate golden record FILE"
        ) from None
    except msgspec.ValidationError as exc:
        raise GoldenInvalid(f"{where}: expected is not a result: {exc}") from exc


def as_result(content: dict[str, Any]) -> Result:
    """A result out of its JSON.

    Raises:
        KeyError: it is none of the kinds of results.
        msgspec.ValidationError: a part of it is missing or wrong.
    """
    kinds = [kind for key, kind in _KINDS.items() if key in content]
    if len(kinds) != 1:
        raise KeyError("result")
    result: Result = msgspec.convert(content, kinds[0])
    return result
