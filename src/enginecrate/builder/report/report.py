"""The report of a build: `build/report.json` for programs, `build/report.html` for people.

The JSON follows `BuildReport`. `format` grows when a key changes its meaning or goes away; new keys
may appear at any time. `result` is the same for every build of the same project on the same
machine; `run` is about one run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from enginecrate.builder.accuracy.comparison import Accuracy
from enginecrate.builder.accuracy.evaluation import Evaluation
from enginecrate.builder.accuracy.labelled import LabelledAccuracy
from enginecrate.builder.proof.timing import Timing
from enginecrate.builder.quantization.recovery import Recovery
from enginecrate.builder.quantization.speed import Speed
from enginecrate.builder.report.build_machine import BuildMachine
from enginecrate.builder.trial.findings import TrialFacts
from enginecrate.errors import SystemRefused
from enginecrate.files.atomic import write_atomic
from enginecrate.graph.describe.inspection import ModelFacts
from enginecrate.values import Precision

__all__ = [
    "AppFacts",
    "BuildReport",
    "BuildResult",
    "BuildRun",
    "GoldenFacts",
    "GraphFacts",
    "PhotoFacts",
    "PlanFacts",
    "Status",
    "TargetFacts",
    "TargetSpeed",
    "TargetTiming",
    "Verdict",
    "write_report",
]

Verdict = Literal["proven", "unproven", "failed"]

Status = Literal["proven", "unproven", "simulated", "not run", "failed", "not built"]
"""The status of one target. `proven` and `unproven` ran here. `simulated`: its graph did, in float,
since its device is not here. `not run`: built, and nothing here could run even its graph. `failed`:
its answers are wrong, whether a plan was built of it or not."""

_FORMAT = 2


class AppFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The app of the report. `manifest_digest` is of the manifest's bytes."""

    name: str
    version: str
    vendor: str
    summary: str
    task: str
    manifest_digest: str


class GraphFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of simplification. `changed` is false when the graph was left as it is."""

    simplifier: str
    changed: bool
    nodes_before: int
    nodes_after: int
    operators_before: dict[str, int]
    operators_after: dict[str, int]


class PhotoFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The photos that chose the scales, and those that examined.

    method: how ranges are chosen; `percentile` is for the method of this name.
    calibration: photos that chose them. copies: changed copies of them, because they are few.
    examined: held-out photos; golden samples are not counted.
    skipped: files that could not be used, with the reason.
    """

    folder: str
    method: str
    percentile: float | None
    calibration: int
    copies: int
    examined: int
    skipped: tuple[tuple[str, str], ...] = ()


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


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One target, and what became of it.

    gpus: of the manifest, that this plan is for.
    asked: the precision that was asked for; the plan's own may be `mixed`.
    reason: why it failed or was not built, and what to do.
    kept: nodes that multiply in a higher precision than asked for.
    share: of the multiply-adds that run in the asked precision, 0..1; `None` for fp32.
    calibration_digest: of the table that its scales came from; empty without one.
    notes: what was done to the graph, what its builder said, and how far its examination goes,
        in sentences.
    notes: of the builder, one sentence each.
    evaluation: agreement with FP32; also of a graph that failed the gate, so that no plan was
        built.
    recovery: what was done to pass the gate; `None` when nothing was quantised.
    labelled: accuracy against the truth, where the manifest names some.
    """

    stack: str
    backend: str
    device: str
    gpus: tuple[str, ...]
    asked: Precision
    status: Status
    reason: str = ""
    plan: PlanFacts | None = None
    kept: tuple[str, ...] = ()
    share: float | None = None
    nodes: int = 0
    calibration_digest: str = ""
    notes: tuple[str, ...] = ()
    evaluation: Evaluation | None = None
    recovery: Recovery | None = None
    labelled: LabelledAccuracy | None = None


class GoldenFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One golden sample, and why it failed if it did."""

    name: str
    passed: bool
    reasons: tuple[str, ...]


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """The plans with their proofs. The same each time.

    targets: all that the manifest wants, in its order.
    not_buildable: what cannot be a target at all, with the reason.
    served: the place among the targets of the plan that would serve here; without one, of a
        simulated one; `None` when no plan was built.
    golden, accuracy: of that plan.
    photos: `None` when the manifest names none to calibrate with.
    contract: of the ISV's own pipeline: `passed`, why it failed, or empty when nothing was tested.
    trial: the run of that plan on photos that ship with the program; `None`: it did not run.
    """

    app: AppFacts
    model: ModelFacts
    graph: GraphFacts
    targets: tuple[TargetFacts, ...]
    served: int | None
    not_buildable: tuple[str, ...]
    photos: PhotoFacts | None = None
    golden: tuple[GoldenFacts, ...]
    accuracy: Accuracy
    contract: str
    trial: TrialFacts | None = None


class TargetTiming(msgspec.Struct, frozen=True):
    """Times of one target's plan; `target` is its place among the targets."""

    target: int
    timing: Timing


class TargetSpeed(msgspec.Struct, frozen=True):
    """One target's graph against FP32, both run in turn; `target` is its place."""

    target: int
    speed: Speed


class BuildRun(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that differ from run to run.

    finished: UTC, RFC 3339. seconds: the whole build. cached: plans that came from the cache.
    batches: sizes of batches in which the trial's samples got the same answers as alone.
    timings: of the plans that run here. speeds: of graphs that were made in this run.
    report: the HTML file.
    """

    finished: str
    seconds: float
    cached: int
    batches: tuple[int, ...] = ()
    machine: BuildMachine
    timings: tuple[TargetTiming, ...]
    speeds: tuple[TargetSpeed, ...] = ()
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
        raise SystemRefused(
            f"cannot write the report to {folder}: {exc.strerror}; make room, or correct the "
            "folder's permissions"
        ) from exc
