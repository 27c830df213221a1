"""`GET /v1/status`: everything that the dashboard shows."""

from __future__ import annotations

import datetime
import time
from typing import Any

from enginecrate.server.http.messages import Request, Response, json_response
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.reload import LiveSettings
from enginecrate.server.statistics.latencies import WINDOW_SECONDS, Latencies
from enginecrate.server.statistics.layout import SLICE_PARTS
from enginecrate.version import __version__

__all__ = ["StatusRoute"]


class StatusRoute:
    """Answers always, also while the model is loading and when it has failed."""

    def __init__(self, model: ServedModel, live: LiveSettings) -> None:
        self._model = model
        self._live = live

    async def status(self, request: Request) -> Response:
        """The whole state as JSON."""
        return json_response(self._overview(), headers=(("cache-control", "no-store"),))

    def _overview(self) -> dict[str, Any]:
        model, settings = self._model, self._live.settings
        app = model.manifest.app
        totals = model.statistics.view.totals()
        started = datetime.datetime.fromtimestamp(totals.started_ms / 1000, datetime.UTC)
        return {
            "app": app.name,
            "version": app.version,
            "vendor": app.vendor,
            "summary": app.summary,
            "task": model.manifest.pipeline.task,
            "tool_version": __version__,
            "state": model.state,
            "ready": model.is_ready,
            "reason": model.reason,
            "started_at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "uptime_seconds": round((time.monotonic_ns() - totals.started_ns) / 1e9, 3),
            "processes": totals.processes,
            "engine": _engine(model),
            "ladder": model.ladder.as_dict(),
            "pipeline": _pipeline(model),
            "golden": _golden(model),
            "trial": model.trial,
            "requests": {
                "success": totals.success.count,
                "failed": dict(totals.failures),
                "inferences": totals.inferences,
                "executions": totals.executions,
            },
            "latency_ms": _latency(model.statistics.view.latencies()),
            "queue": {
                "depth": round(totals.gauges["pending"] + totals.gauges["decoding"]),
                "limit": settings.max_pending,
            },
            "limits": {
                "max_body_bytes": settings.max_body_bytes,
                "max_image_pixels": settings.max_image_pixels,
                "max_images": settings.max_images,
                "request_timeout_seconds": settings.request_timeout_seconds,
            },
        }


def _engine(model: ServedModel) -> dict[str, Any] | None:
    loaded = model.loaded
    if loaded is None:
        return None
    info = loaded.info
    return {
        "backend": info.backend,
        "backend_version": info.backend_version,
        "precision": info.precision,
        "device": info.device,
        "stack": info.stack,
        "plan": loaded.engine.plan,
        "plan_digest": info.plan_digest,
        "graph_digest": info.graph_digest,
        "model_digest": info.model_digest,
        "max_batch": loaded.signature.max_batch,
        "one_by_one": loaded.one_by_one,
        "instances": loaded.instances,
        "inputs": loaded.signature.inputs,
        "outputs": loaded.signature.outputs,
    }


def _pipeline(model: ServedModel) -> dict[str, Any]:
    spec = model.manifest.pipeline
    return {
        "task": spec.task,
        "decoder": spec.decoder,
        "module": spec.module,
        "labels": len(model.loaded.labels) if model.loaded else 0,
        "score_threshold": spec.score_threshold,
    }


def _golden(model: ServedModel) -> dict[str, Any]:
    outcomes = model.golden.outcomes if model.golden else ()
    return {
        "state": model.golden_state,
        "samples": len(outcomes),
        "passed": sum(outcome.passed for outcome in outcomes),
        "outcomes": [
            {"name": outcome.name, "passed": outcome.passed, "reasons": list(outcome.reasons)}
            for outcome in outcomes
        ],
    }


def _latency(latencies: Latencies) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "window_seconds": round(WINDOW_SECONDS),
        "count": latencies.count,
    }
    for part in SLICE_PARTS:
        prefix = "" if part == "total" else f"{part}_"
        for percent in (50, 95, 99):
            value = latencies.percentile(part, percent)
            figures[f"{prefix}p{percent}"] = None if value is None else round(value, 3)
    return figures
