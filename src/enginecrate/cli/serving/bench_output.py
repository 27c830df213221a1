"""The report of load runs: rows for people, JSON, CSV and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from enginecrate.bench.objective import SearchResult
from enginecrate.bench.page import bench_page, run_name
from enginecrate.bench.result import BenchResult
from enginecrate.bench.table import csv_text
from enginecrate.cli.serving.bench_options import OutputOptions
from enginecrate.cli.shared.output import console, print_json, print_rows
from enginecrate.errors import SystemRefused
from enginecrate.files.atomic import write_atomic

__all__ = ["report"]


def report(
    runs: Sequence[BenchResult],
    options: OutputOptions,
    *,
    title: str,
    single: bool,
    search: SearchResult | None = None,
) -> None:
    """Print the report, and write the files that were asked for.

    Args:
        runs: in their order; a search has its own.
        options: as given.
        title: of the page.
        single: one run was asked for: its report stands alone.
        search: of the highest rate.
    """
    if options.csv is not None:
        _write(options.csv, csv_text(runs))
    if options.html is not None:
        facts = list(_search_rows(search)) if search else []
        _write(options.html, bench_page(title, runs, facts))
    if options.as_json:
        print_json(_document(runs, single=single, search=search))
    elif single and runs:
        print_rows(_rows(runs[0]))
    else:
        _print_table(runs)
        print_rows(_search_rows(search) if search else ())
        # Of a search: what stopped it before it began. Its trials are meant to overload.
        told = runs if search is None or not search.trials else ()
        print_rows((run_name(run), note) for run in told for note in run.notes)


def _write(file: Path, text: str) -> None:
    try:
        write_atomic(file, text.encode())
    except OSError as exc:
        raise SystemRefused(
            f"cannot write {file}: {exc.strerror}; choose a folder that is there and may be written"
        ) from exc


def _document(
    runs: Sequence[BenchResult], *, single: bool, search: SearchResult | None
) -> BenchResult | SearchResult | Mapping[str, Any]:
    if search is not None:
        return search
    return runs[0] if single and runs else {"runs": list(runs)}


def _rows(result: BenchResult) -> Iterator[tuple[str, str]]:
    ended = " (ended by Ctrl-C)" if result.interrupted else ""
    load = f"{result.connections} connections"
    if result.mode == "open":
        load = f"{result.rate:g} requests/s, {result.arrivals}, at most {load}"
    many = "process" if result.processes == 1 else "processes"
    yield "load", f"{load}, {result.payloads} payloads in turn, {result.processes} {many}"
    yield "measured", f"{result.requests} requests in {result.seconds:.1f} s{ended}"
    yield "throughput", f"{result.throughput:.1f} requests/s"
    if (latency := result.latency_ms) is not None:
        for share in ("p50", "p90", "p95", "p99"):
            yield share, f"{getattr(latency, share):.1f} ms"
        yield "max", f"{latency.maximum:.1f} ms"
    yield "errors", ", ".join(f"{n} x {why}" for why, n in result.errors.items()) or "none"
    yield from _answer_rows(result)
    yield from _measured_rows(result)
    for note in result.notes:
        yield "note", note


def _answer_rows(result: BenchResult) -> Iterator[tuple[str, str]]:
    if result.checked:
        right = "all right"
        if result.reference == "alone":
            right += " (as each payload's answer without load)"
        yield "answers", f"{result.wrong} wrong" if result.wrong else right
    else:
        yield "answers", f"{result.answers} different ones; not compared with right ones"
    for reason in result.wrong_reasons:
        yield "", reason


def _measured_rows(result: BenchResult) -> Iterator[tuple[str, str]]:
    if (server := result.server) is not None and server.requests:
        yield (
            "server",
            f"queue {server.queue_ms:.2f}, input {server.compute_input_ms:.2f}, compute "
            f"{server.compute_infer_ms:.2f}, output {server.compute_output_ms:.2f}, other "
            f"{server.other_ms:.2f} ms; {server.batch:g} in a batch",
        )
    if (host := result.host) is not None:
        yield (
            "machine",
            f"{host.processor:.0%} of {host.cores} cores, {_gib(host.memory_bytes)} in use",
        )
        for gpu in host.gpus:
            words = f"{gpu.name}: {gpu.busy:.0%} busy, {_gib(gpu.memory_bytes)} in use"
            yield f"GPU {gpu.index}", words


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _search_rows(search: SearchResult | None) -> Iterator[tuple[str, str]]:
    if search is None:
        return
    found = f"{search.rate:.1f} requests/s" if search.rate else "no rate at which it holds"
    yield search.objective, found + (" (ended by Ctrl-C)" if search.interrupted else "")


def _print_table(runs: Sequence[BenchResult]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("load")
    for name in ("requests/s", "p50 ms", "p90", "p99", "max", "errors", "answers"):
        table.add_column(name, justify="right")
    for run in runs:
        latency = run.latency_ms
        figures = [
            f"{getattr(latency, name):.1f}" if latency else ""
            for name in ("p50", "p90", "p99", "maximum")
        ]
        wrong = f"{run.wrong} wrong" if run.wrong else "right"
        table.add_row(
            run_name(run),
            f"{run.throughput:.1f}",
            *figures,
            str(sum(run.errors.values())),
            wrong if run.checked else "not compared",
        )
    console().print(table)
