"""The line that shows how a load run goes, while it goes; on stderr, and only on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from enginecrate.bench.load import LoadPlan, Measured
from enginecrate.bench.run import Live
from enginecrate.cli.shared.output import console

__all__ = ["show_run"]


@contextmanager
def show_run(plan: LoadPlan, name: str) -> Iterator[Live]:
    """A line with a bar: the load, requests a second, median and 99th percentile, errors."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    screen = console(stderr=True)
    columns = (
        TextColumn("{task.fields[load]}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task("warm up", total=None, load=name)

        def update(measured: Measured, seconds: float) -> None:
            if seconds > 0:
                done, total = _done(plan, measured, seconds)
                words = _words(measured, seconds)
                bar.update(task, completed=done, total=total, description=words)

        yield update if screen.is_terminal else _nothing


def _done(plan: LoadPlan, measured: Measured, seconds: float) -> tuple[float, float]:
    if plan.requests:
        return measured.latencies.count + measured.errors.total(), plan.requests
    return seconds, plan.patience or plan.seconds


def _words(measured: Measured, seconds: float) -> str:
    latencies = measured.latencies
    parts = [f"{latencies.count / seconds:,.0f} requests/s"]
    if latencies.count:
        p50, p99 = (latencies.percentile(share) / 1e6 for share in (50, 99))
        parts.append(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    if errors := measured.errors.total():
        parts.append(f"{errors} errors")
    return ", ".join(parts)


def _nothing(measured: Measured, seconds: float) -> None:
    """Show nothing."""
