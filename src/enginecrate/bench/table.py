"""Runs as rows of a CSV file, one a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from enginecrate.bench.result import BenchResult

__all__ = ["csv_text"]

_LATENCIES = ("minimum", "mean", "p50", "p90", "p95", "p99", "p999", "maximum")
_SERVER = ("queue_ms", "compute_input_ms", "compute_infer_ms", "compute_output_ms", "batch")


def csv_text(runs: Sequence[BenchResult]) -> str:
    """The file's text. Latencies are milliseconds; what is unknown is empty."""
    output = io.StringIO()
    writer = csv.DictWriter(output, list(_row(runs[0])) if runs else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(run) for run in runs)
    return output.getvalue()


def _row(run: BenchResult) -> dict[str, object]:
    row: dict[str, object] = {
        "mode": run.mode,
        "connections": run.connections,
        "rate": run.rate or "",
        "arrivals": run.arrivals,
        "seconds": run.seconds,
        "requests": run.requests,
        "throughput": run.throughput,
    }
    row |= {f"{name}_ms": getattr(run.latency_ms, name, "") for name in _LATENCIES}
    row |= {
        "errors": sum(run.errors.values()),
        "wrong": run.wrong,
        "checked": run.checked,
        "stable": "" if run.stable is None else run.stable,
        "load_busy": run.load_busy,
        "lag_ms": run.lag_ms,
    }
    row |= {f"server_{name}": getattr(run.server, name, "") for name in _SERVER}
    row["host_processor"] = run.host.processor if run.host else ""
    row["gpu_busy"] = run.host.gpus[0].busy if run.host and run.host.gpus else ""
    return row
