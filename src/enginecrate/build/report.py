"""The report of a build: `build/report.json` for programs, `build/report.html` for people.

The JSON follows `BuildReport`. `format` grows when a key changes its meaning or goes away; new keys
may appear at any time. `result` is the same for every build of the same project on the same
machine; `run` is about one run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from enginecrate.build.accuracy import Accuracy
from enginecrate.build.machine import MachineFacts
from enginecrate.build.timing import Timing
from enginecrate.engines.atomic import write_atomic
from enginecrate.errors import BuildError
from enginecrate.graph.inspection import ModelFacts
from enginecrate.values import Precision

__all__ = [
    "AppFacts",
    "BuildReport",
    "BuildResult",
    "BuildRun",
    "GoldenFacts",
    "GraphFacts",
    "PlanFacts",
    "Verdict",
    "write_report",
]

Verdict = Literal["proven", "unproven", "failed"]

_FORMAT = 1


class AppFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Who it is about. `manifest_digest` is of the manifest's bytes."""

    name: str
    version: str
    vendor: str
    summary: str
    task: str
    manifest_digest: str


class GraphFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What simplifying did. `changed` is false when the graph was left as it is."""

    simplifier: str
    changed: bool
    nodes_before: int
    nodes_after: int
    operators_before: dict[str, int]
    operators_after: dict[str, int]


class PlanFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One plan. `key` is its place in the cache."""

    stack: str
    backend: str
    backend_version: str
    platform: str
    device: str
    precision: Precision
    key: str
    plan_digest: str
    graph_digest: str
    plan_bytes: int
    max_batch: int


class GoldenFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One golden sample, and why it failed if it did."""

    name: str
    passed: bool
    reasons: tuple[str, ...]


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, and whether it is right. The same each time.

    not_buildable: stacks of the manifest for which this version builds nothing.
    contract: of the ISV's own pipeline: `passed`, why it failed, or empty when nothing was tested.
    """

    app: AppFacts
    model: ModelFacts
    graph: GraphFacts
    plans: tuple[PlanFacts, ...]
    not_buildable: tuple[str, ...]
    golden: tuple[GoldenFacts, ...]
    accuracy: Accuracy
    contract: str


class BuildRun(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from run to run.

    finished: UTC, RFC 3339. seconds: the whole build. cached: the plan came from the cache.
    report: the HTML file.
    """

    finished: str
    seconds: float
    cached: bool
    machine: MachineFacts
    timing: Timing
    report: str


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole build.

    verdict: `proven` when every golden sample gave its expected result and the plan agrees with
        the model as it was given; `unproven` without golden samples; else `failed`.
    reasons: why it is not proven.
    """

    format: int = _FORMAT
    verdict: Verdict
    reasons: tuple[str, ...]
    result: BuildResult
    run: BuildRun


def write_report(folder: Path, report: BuildReport, html: str) -> None:
    """Write both files, the JSON last; readers never see half of one.

    Raises:
        BuildError: the folder cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "report.html", html.encode())
        write_atomic(folder / "report.json", content)
    except OSError as exc:
        raise BuildError(
            f"cannot write the report to {folder}: {exc.strerror}; make room, or correct the "
            "folder's permissions"
        ) from exc
