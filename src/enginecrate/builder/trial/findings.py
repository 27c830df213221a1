"""The findings of a trial run: a stable name, and words with the cure."""

from __future__ import annotations

from typing import Literal

import msgspec

from enginecrate.values import PlanInfo

__all__ = ["ONE_BY_ONE", "Finding", "FindingName", "TrialFacts", "limit_note"]

FindingName = Literal[
    "error",
    "shape",
    "not-finite",
    "score",
    "sum",
    "box",
    "silent",
    "softmax-twice",
    "numbers",
    "one-by-one",
    "batch-unseen",
    "not-run",
]
"""Stable names. `error`: a sample gives an error instead of an answer. `shape`: an output has
another shape than the model promises. `not-finite`: NaN or infinity. `score`: outside 0..1.
`sum`: classes that do not sum to 1. `box`: outside of the picture, or turned over. `silent`: no
candidate, even at a threshold of 0. `softmax-twice`: the model's output was one already.
`numbers`: the plan computes others than onnxruntime does without optimisation. `one-by-one`: a
batch spoils answers. `batch-unseen`: nothing can be said about batches. `not-run`: nothing could be
tried."""


ONE_BY_ONE = "the app is served one by one"
"""Words of every finding `one-by-one`."""


class Finding(msgspec.Struct, frozen=True):
    """One finding.

    sample: the photo that it is about; empty for all of them.
    fault: the app cannot be served like this; else it is a remark.
    """

    name: FindingName
    sample: str
    words: str
    fault: bool = False

    def __str__(self) -> str:
        return f"{self.sample}: {self.words}" if self.sample else self.words


def limit_note(info: PlanInfo) -> str:
    """The sentence of a plan's sidecar that says why it is served one by one; empty without one."""
    return next((note for note in info.notes if ONE_BY_ONE in note), "")


class TrialFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a trial run that a report keeps.

    samples: that ran, from their bytes to a result; empty when nothing could be tried.
    max_batch: the largest batch that may be served; 1: one by one; 0: there is no batch.
    """

    samples: tuple[str, ...]
    max_batch: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that keep the app from being served."""
        return tuple(finding for finding in self.findings if finding.fault)
