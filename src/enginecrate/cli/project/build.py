"""`enginecrate build`: inspect, simplify, plan, prove, time, report."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enginecrate.cli.shared.options import (
    Json,
    Project,
    SettingsSources,
    examples,
    split_words,
    with_groups,
)
from enginecrate.cli.shared.output import note, print_json, print_rows, show_progress

if TYPE_CHECKING:
    from enginecrate.builder.project.project import Project as OpenedProject
    from enginecrate.builder.report.report import BuildReport, TargetFacts, TargetTiming

__all__ = ["EXAMPLES", "build"]

EXAMPLES = examples(
    "enginecrate build",
    "enginecrate build --project ai-inspection",
    "enginecrate build --precision int8 --strict",
    "enginecrate build --stack trtrtx17-cuda130,ort-cpu --gpu T4,L4 --precision fp32,fp16,int8",
    "enginecrate build --json > build.json",
)


@with_groups
def build(
    project: Project = Path(),
    *,
    sources: SettingsSources,
    stack: Annotated[
        list[str] | None,
        typer.Option("--stack", metavar="NAME", help="Stacks, in place of targets.stacks"),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="NAME", help="GPUs, in place of targets.gpus"),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", metavar="NAME", help="Precisions, in place of targets.precisions"
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail when a target cannot be built")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the app's plans, prove them and time them.

    The model is inspected, simplified, cast or quantised, and built into a plan for every target
    of the manifest: stacks x GPUs x precisions. Each plan is compared with the model as it was
    given, and timed if it runs here. build/report.html shows all of it. --stack, --gpu and
    --precision may be given several times, or with commas.

    Killing it at any moment is harmless: run it again. What is unchanged comes from the cache.
    """
    from enginecrate.builder.plans.targets import require_gpus
    from enginecrate.builder.project.overrides import select
    from enginecrate.builder.run import run_build

    chosen = partial(
        select, stacks=split_words(stack), gpus=split_words(gpu), precisions=split_words(precision)
    )
    settings = sources.load()
    notes: list[str] = []

    def select_targets(opened: OpenedProject) -> OpenedProject:
        notes.extend(opened.notes)
        selected = chosen(opened)
        if gpu:
            require_gpus(selected.manifest)
        return selected

    with show_progress() as progress:
        report = run_build(project, settings, progress, select=select_targets, strict=strict)
    for text in notes:
        note(f"warning: {text}")
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: BuildReport) -> None:
    print_rows(_rows(report), name_style="bold")
    style = "green" if report.verdict == "proven" else "yellow"
    typer.secho(f"\n{report.verdict}", fg=style, bold=True, nl=False)
    typer.echo("".join(f": {reason}" for reason in report.reasons))


def _rows(report: BuildReport) -> Iterator[tuple[str, str]]:
    """Name and value of each line of the summary."""
    result, run = report.result, report.run
    yield "app", f"{result.app.name} {result.app.version} ({result.app.task})"
    yield "model", f"{result.model.bytes / 1e6:.1f} MB, {result.model.digest[:19]}"
    graph = result.graph
    yield "graph", f"{graph.nodes_before} -> {graph.nodes_after} nodes ({graph.simplifier})"
    for target in result.targets:
        yield "plan" if target.plan else "no plan", _target(target)
    for reason in result.not_buildable:
        yield "no plan", reason
    if result.golden:
        passed = sum(sample.passed for sample in result.golden)
        yield "golden", f"{passed} of {len(result.golden)} samples give their expected result"
    yield from _trial(report)
    if result.accuracy.agreement is not None:
        words = f"{result.accuracy.counted} results on golden samples match those of the model"
        yield "accuracy", f"{words} as it was given"
    if result.contract:
        yield "pipeline", f"contract of your own class: {result.contract}"
    for timed in run.timings:
        yield from _times(timed, result.targets[timed.target], served=timed.target == result.served)
    for measured in run.speeds:
        speed = measured.speed
        words = f"{speed.ratio:.2f} times as fast as FP32 ({speed.runs} runs in turn)"
        yield f"{result.targets[measured.target].asked} speed", words
    plans = sum(target.plan is not None for target in result.targets)
    yield "cache", f"{run.cached} of {plans} plans"
    yield "report", f"{run.report} ({run.seconds:.1f} s)"


def _target(target: TargetFacts) -> str:
    words = f"{target.stack}, {target.asked} for {target.device}"
    if target.plan is None:
        return f"{words}: {target.reason}"
    if target.plan.precision != target.asked:
        words += f" ({target.plan.precision})"
    words += f": {target.status}, {target.plan.plan_bytes / 1e6:.1f} MB"
    figure = target.evaluation.agreement if target.evaluation else None
    if figure is not None and figure.value is not None:
        words += f", {figure.name} {figure.short}"
    return f"{words}: {target.reason}" if target.reason else words


def _trial(report: BuildReport) -> Iterator[tuple[str, str]]:
    """The samples of the trial run, and what it has found."""
    result = report.result
    trial = result.trial
    if trial is None or result.served is None:
        return
    if trial.samples:
        simulated = result.targets[result.served].status == "simulated"
        words = " and ".join(trial.samples)
        words += " ran on the graph, simulated here" if simulated else " ran here"
        if report.run.batches:
            words += f", in batches of {' and '.join(map(str, report.run.batches))} as alone"
        yield "trial", words
    for finding in trial.findings:
        yield "note", str(finding)


def _times(timed: TargetTiming, target: TargetFacts, *, served: bool) -> Iterator[tuple[str, str]]:
    """All steps of the plan that would serve here; of others the engine alone."""
    for row in timed.timing.rows:
        if not served and row.step != "engine":
            continue
        name = f"{target.asked} batch {row.batch}" if row.step == "engine" else row.step
        times = f"{row.median_ms:.1f} ms (p95 {row.p95_ms:.1f}), {row.per_second:.0f}/s"
        yield name, f"{times}, {target.stack} on {target.device}"
    for remark in timed.timing.notes:
        yield "timing", remark
