"""Tables of the report's page: what was built for what, distinct graphs, times side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enginecrate.builder.accuracy.figures import Figure
from enginecrate.builder.proof.timing import TimingRow
from enginecrate.builder.quantization.speed import Speed
from enginecrate.builder.report.report import BuildReport, BuildResult, TargetFacts
from enginecrate.values import Precision

__all__ = [
    "GraphRow",
    "Grid",
    "GridRow",
    "Latency",
    "LatencyCell",
    "TensorFigures",
    "batches_of",
    "graph_rows",
    "latencies",
    "make_grid",
    "operator_rows",
    "quantised_rows",
]

_OF = " of "


@dataclass(frozen=True, slots=True)
class GridRow:
    """One stack on one device. cells: a target for each precision, where it was asked for."""

    stack: str
    backend: str
    device: str
    gpus: Sequence[str]
    cells: Sequence[TargetFacts | None]


@dataclass(frozen=True, slots=True)
class Grid:
    """The targets as a grid: devices down, precisions across."""

    precisions: Sequence[Precision]
    rows: Sequence[GridRow]


@dataclass(frozen=True, slots=True)
class TensorFigures:
    """One output tensor. figures: by what they measure, for example `cosine`."""

    name: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class GraphRow:
    """One typed graph, whatever number of targets share it.

    title: its precision and where it runs, short. target: the first of them.
    where: all of them, as words. speed: against FP32, when this run measured it.
    figures, tensors: of its evaluation, those of results apart from those of output tensors.
    """

    title: str
    target: TargetFacts
    where: Sequence[str]
    speed: Speed | None
    figures: Sequence[Figure]
    tensors: Sequence[TensorFigures]


@dataclass(frozen=True, slots=True)
class LatencyCell:
    """One plan at one batch. width: percent of the slowest at this batch.

    times: how many times as fast as the FP32 plan of the same stack and device.
    """

    row: TimingRow
    width: float
    times: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """One plan at all batches; `None` where it was not timed."""

    title: str
    cells: Sequence[LatencyCell | None]


def make_grid(result: BuildResult) -> Grid:
    """Sort the targets into a grid, in the manifest's order."""
    precisions = list(dict.fromkeys(target.asked for target in result.targets))
    devices: dict[tuple[str, str, str], dict[Precision, TargetFacts]] = {}
    for target in result.targets:
        devices.setdefault((target.stack, target.backend, target.device), {})[target.asked] = target
    rows = [
        GridRow(
            *device, next(iter(cells.values())).gpus, [cells.get(asked) for asked in precisions]
        )
        for device, cells in devices.items()
    ]
    return Grid(precisions, rows)


def graph_rows(report: BuildReport) -> list[GraphRow]:
    """The distinct graphs: equal bytes, examined in the same way.

    Targets without a plan share one if they failed for the same reason.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, target in enumerate(report.result.targets):
        name = target.plan.graph_digest if target.plan else f"{target.asked} {target.reason}"
        way = target.evaluation.proof if target.evaluation else ""
        groups.setdefault((name, way), []).append(index)
    return [_graph_row(report, indices) for indices in groups.values()]


def quantised_rows(graphs: Sequence[GraphRow]) -> list[GraphRow]:
    """Those that were quantised; what was changed for single devices later counts once."""
    rows: list[GraphRow] = []
    for row in graphs:
        known = [(other.title, other.target.recovery) for other in rows]
        if row.target.recovery is not None and (row.title, row.target.recovery) not in known:
            rows.append(row)
    return rows


def latencies(report: BuildReport) -> list[Latency]:
    """The engine alone, plan by plan."""
    targets, batches = report.result.targets, batches_of(report)
    timed = {one.target: _by_batch(one.timing.rows) for one in report.run.timings}
    slowest = {
        batch: max(rows[batch].median_ms for rows in timed.values() if batch in rows) or 1.0
        for batch in batches
    }
    answer = []
    for index, rows in timed.items():
        base = _base(targets, timed, index)
        cells = [
            LatencyCell(
                rows[batch],
                100 * rows[batch].median_ms / slowest[batch],
                base[batch].median_ms / max(rows[batch].median_ms, 1e-6) if batch in base else None,
            )
            if batch in rows
            else None
            for batch in batches
        ]
        answer.append(Latency(_plan_title(targets[index]), cells))
    return answer


def batches_of(report: BuildReport) -> list[int]:
    """The batch sizes that any engine was timed at."""
    return sorted({batch for one in report.run.timings for batch in _by_batch(one.timing.rows)})


def operator_rows(report: BuildReport) -> list[tuple[str, int, int]]:
    """Operator, count before, count after; the commonest first."""
    before, after = report.result.graph.operators_before, report.result.graph.operators_after
    names = sorted({*before, *after}, key=lambda name: (-before.get(name, 0), name))
    return [(name, before.get(name, 0), after.get(name, 0)) for name in names]


def _graph_row(report: BuildReport, indices: Sequence[int]) -> GraphRow:
    targets = [report.result.targets[index] for index in indices]
    speeds = [one.speed for one in report.run.speeds if one.target in indices]
    evaluation = targets[0].evaluation
    figures = evaluation.figures if evaluation else ()
    return GraphRow(
        title=f"{_precisions(targets[0])} for {_kinds(targets)}",
        target=targets[0],
        where=list(_where(targets)),
        speed=speeds[0] if speeds else None,
        figures=[one for one in figures if _OF not in one.name],
        tensors=_tensors(figures),
    )


def _tensors(figures: Sequence[Figure]) -> list[TensorFigures]:
    """Figures named `cosine of logits` and the like, tensor by tensor."""
    tensors: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        kind, of, tensor = figure.name.partition(_OF)
        if of:
            tensors.setdefault(tensor, {})[kind] = figure
    return [TensorFigures(name, kinds) for name, kinds in tensors.items()]


def _precisions(target: TargetFacts) -> str:
    """The precision that was asked for, and that of the plan where it is another."""
    if target.plan is None or target.plan.precision is target.asked:
        return str(target.asked)
    return f"{target.asked} ({target.plan.precision})"


def _kinds(targets: Sequence[TargetFacts]) -> str:
    on_cpu = [one.device == "cpu" for one in targets]
    if all(on_cpu):
        return "the CPU"
    return "CPU and GPUs" if any(on_cpu) else "GPUs"


def _plan_title(target: TargetFacts) -> str:
    return f"{_precisions(target)}, {target.stack} on {target.device}"


def _where(targets: Sequence[TargetFacts]) -> Iterator[str]:
    devices: dict[str, list[str]] = {}
    for target in targets:
        devices.setdefault(target.stack, []).append(target.device)
    for stack, names in devices.items():
        yield f"{stack}: {', '.join(names)}"


def _by_batch(rows: Sequence[TimingRow]) -> dict[int, TimingRow]:
    return {row.batch: row for row in rows if row.step == "engine"}


def _base(
    targets: Sequence[TargetFacts], timed: dict[int, dict[int, TimingRow]], index: int
) -> dict[int, TimingRow]:
    """Times of the FP32 plan that this one may be compared with; none of its own."""
    mine = targets[index]
    for other, rows in timed.items():
        candidate = targets[other]
        same_device = (candidate.stack, candidate.backend, candidate.device) == (
            mine.stack, mine.backend, mine.device
        )  # fmt: skip
        if same_device and candidate.asked is Precision.FP32 and other != index:
            return rows
    return {}
