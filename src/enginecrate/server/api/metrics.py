"""`/metrics`: counters, gauges and histograms in Prometheus' text format, named as Triton's.

Existing dashboards and autoscalers expect exactly these names, which do not end in `_total`. The
load of the host's processors and memory is read from Linux's `/proc`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from enginecrate.server.http.messages import Request, Response
from enginecrate.server.model.ladder_status import LadderStatus
from enginecrate.server.model.serving import LoadedModel
from enginecrate.server.statistics.layout import BUCKETS_US, PARTS
from enginecrate.server.statistics.lease_gauges import LEASE_GAUGES
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.server.statistics.view import StatisticsView, Totals

__all__ = ["CpuMeter", "Metrics", "MetricsRoute", "memory_bytes"]

_PROC = Path("/proc")
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COMMENT = re.compile(rb"^# (HELP|TYPE) (\w+)_total ", re.MULTILINE)


class _MeasuredModel(Protocol):
    """The part of a model that metrics read."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def statistics(self) -> ModelStatistics: ...
    @property
    def load_seconds(self) -> float: ...
    @property
    def is_serving(self) -> bool: ...
    @property
    def loaded(self) -> LoadedModel | None: ...
    @property
    def ladder(self) -> LadderStatus: ...


class MetricsRoute:
    """Handler for the metrics of one model, and of the host."""

    def __init__(self, model: _MeasuredModel) -> None:
        self._metrics = Metrics(lambda: [model], model.statistics.view)

    async def metrics(self, request: Request) -> Response:
        """`/metrics`."""
        return Response(200, (("content-type", _CONTENT_TYPE),), (self._metrics.render(),))


class Metrics:
    """One registry, apart from the library's global one, so that servers do not mix."""

    def __init__(
        self,
        models: Callable[[], Iterable[_MeasuredModel]],
        server: StatisticsView | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            models: with the statistics of each.
            server: of all processes; `None` leaves out what belongs to no model.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ModelCollector(models))
        if server is not None:
            self._registry.register(_ServerCollector(server))
        self._registry.register(_HostCollector())

    def render(self) -> bytes:
        """The text format. The library adds `_total` to every counter's description."""
        return _COMMENT.sub(rb"# \1 \2 ", generate_latest(self._registry))


class _ModelCollector(Collector):
    def __init__(self, models: Callable[[], Iterable[_MeasuredModel]]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        readings = [_Reading(model, model.statistics.view.totals()) for model in self._models()]
        yield from _counters(readings)
        yield from _durations(readings)
        yield _gauge(
            "nv_inference_pending_request_count",
            "Requests that wait for an engine",
            readings,
            lambda reading: reading.totals.gauges["pending"],
        )
        yield _gauge(
            "nv_model_load_duration_secs",
            "Seconds from the start until the model was ready",
            readings,
            lambda reading: reading.model.load_seconds,
        )
        yield from _ladder(readings)


class _Reading(NamedTuple):
    """A model, and its sums at one moment."""

    model: _MeasuredModel
    totals: Totals


_Read = Callable[[_Reading], float]


def _counter(name: str, help_text: str, readings: Iterable[_Reading], read: _Read) -> Metric:
    metric = Metric(name, help_text, "counter")
    for reading in readings:
        metric.add_sample(name, _labels(reading.model), read(reading))
    return metric


def _gauge(name: str, help_text: str, readings: Iterable[_Reading], read: _Read) -> Metric:
    metric = GaugeMetricFamily(name, help_text)
    for reading in readings:
        metric.add_sample(name, _labels(reading.model), read(reading))
    return metric


def _counters(readings: list[_Reading]) -> Iterator[Metric]:
    yield _counter(
        "nv_inference_request_success",
        "Requests that the engine answered",
        readings,
        lambda reading: reading.totals.success.count,
    )
    failures = Metric("nv_inference_request_failure", "Requests that failed, by reason", "counter")
    for reading in readings:
        for reason, count in reading.totals.failures.items():
            failures.add_sample(failures.name, {**_labels(reading.model), "reason": reason}, count)
    yield failures
    yield _counter(
        "nv_inference_count",
        "Samples computed; a batch of n counts n",
        readings,
        lambda reading: reading.totals.inferences,
    )
    yield _counter(
        "nv_inference_exec_count",
        "Runs of the engine; a batch counts once",
        readings,
        lambda reading: reading.totals.executions,
    )


def _durations(readings: list[_Reading]) -> Iterator[Metric]:
    for part in PARTS:

        def total(reading: _Reading, part: str = part) -> float:
            return reading.totals.durations[part].ns // 1000

        words = part.replace("_", " ")
        yield _counter(
            f"nv_inference_{part}_duration_us", f"Microseconds of {words}, in sum", readings, total
        )
        histogram = HistogramMetricFamily(
            f"nv_inference_{part}_duration_histogram_us",
            f"Microseconds of {words}",
            labels=["model", "version"],
        )
        for reading in readings:
            duration = reading.totals.durations[part]
            counts = accumulate(duration.buckets)
            bounds = [*map(str, map(float, BUCKETS_US)), "+Inf"]
            buckets = list(zip(bounds, counts, strict=True))
            histogram.add_metric(
                [reading.model.name, reading.model.version], buckets, duration.ns / 1000
            )
        yield histogram


def _ladder(readings: list[_Reading]) -> Iterator[Metric]:
    engine = GaugeMetricFamily("enginecrate_engine_info", "The engine that serves; always 1")
    building = GaugeMetricFamily(
        "enginecrate_build_progress", "The plan that is being built: share of its step, 0 to 1"
    )
    failures = Metric(
        "enginecrate_ladder_failures_total", "Rungs that cannot serve, by reason", "counter"
    )
    for model, totals in readings:
        if model.is_serving and model.loaded is not None:
            facts = msgspec.structs.asdict(model.loaded.engine)
            stack = {"stack": model.loaded.info.stack}
            engine.add_sample(engine.name, {**_labels(model), **facts, **stack}, 1)
        build = model.ladder.build
        if build is not None:
            labels = {**_labels(model), "rung": build[0]}
            building.add_sample(building.name, labels, build[1])
        for reason, count in totals.ladder.failures.items():
            failures.add_sample(failures.name, {**_labels(model), "reason": reason}, count)
    yield engine
    yield building
    yield failures
    yield _counter(
        "enginecrate_plans_built_total",
        "Plans built by this server",
        readings,
        lambda reading: reading.totals.ladder.built,
    )
    yield _counter(
        "enginecrate_build_seconds_total",
        "Seconds that building them took",
        readings,
        lambda reading: reading.totals.ladder.build_seconds,
    )
    yield _counter(
        "enginecrate_swaps_total",
        "Times that a better engine has taken the place of one that served",
        readings,
        lambda reading: reading.totals.ladder.swaps,
    )


class _ServerCollector(Collector):
    """What belongs to the server, and to no model."""

    def __init__(self, view: StatisticsView) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        totals = self._view.totals()
        gauges = totals.gauges
        leases = {state: gauges[name] for state, name in LEASE_GAUGES.items()}
        yield _family(
            "enginecrate_http_responses_total", "Answers, by class of status", "counter",
            "status", totals.responses,
        )  # fmt: skip
        yield _family(
            "enginecrate_requests_refused_total",
            "Sound requests refused with 429, by what there was too much of", "counter",
            "reason", totals.refusals,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "enginecrate_http_connections", "Open connections", value=gauges["connections"]
        )
        opened = Metric("enginecrate_http_connections_total", "Connections opened", "counter")
        opened.add_sample(opened.name, {}, totals.connections)
        yield opened
        yield GaugeMetricFamily(
            "enginecrate_queue_seconds",
            "Seconds that a request would wait for an engine that came now",
            value=gauges["queue_seconds"],
        )
        yield GaugeMetricFamily(
            "enginecrate_decode_pending_requests",
            "Requests that wait for a decoder",
            value=gauges["decoding"],
        )
        yield _family(
            "enginecrate_arena_leases", "Leases of arenas, by state", "gauge",
            "state", leases,
        )  # fmt: skip
        yield GaugeMetricFamily(
            "enginecrate_arena_bytes", "Memory of arenas", value=gauges["arena_bytes"]
        )
        processes = totals.processes
        yield _family(
            "enginecrate_processes", "Living processes, by kind", "gauge",
            "kind", {kind: count.living for kind, count in processes.items()},
        )  # fmt: skip
        yield _family(
            "enginecrate_process_restarts_total",
            "Times that a process was started in place of one that had died, by kind", "counter",
            "kind", {kind: count.restarts for kind, count in processes.items()},
        )  # fmt: skip


def _family(
    name: str, help_text: str, kind: str, label: str, values: Mapping[Any, float]
) -> Metric:
    metric = Metric(name, help_text, kind)
    for value, count in values.items():
        metric.add_sample(name, {label: value}, count)
    return metric


class _HostCollector(Collector):
    def __init__(self) -> None:
        self._cpu = CpuMeter()

    def collect(self) -> Iterator[Metric]:
        total, used = memory_bytes()
        yield GaugeMetricFamily(
            "nv_cpu_utilization",
            "Share of the host's processor time used since the last scrape, 0 to 1",
            value=self._cpu.read(),
        )
        yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "Memory of the host", value=total)
        yield GaugeMetricFamily("nv_cpu_memory_used_bytes", "Memory in use", value=used)


class CpuMeter:
    """The share of processor time that was used since the last reading, 0 to 1."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._file = proc / "stat"
        self._last = self._read()

    def read(self) -> float:
        """The share since the last call, or since construction."""
        busy, total = self._read()
        before_busy, before_total = self._last
        self._last = busy, total
        return (busy - before_busy) / (total - before_total) if total > before_total else 0.0

    def _read(self) -> tuple[int, int]:
        """Busy and total time: proc(5), `/proc/stat`, first line; idle and iowait are not busy."""
        try:
            times = [
                int(text) for text in self._file.read_text("ascii").split("\n")[0].split()[1:9]
            ]
        except (OSError, ValueError):
            return 0, 0
        return sum(times) - sum(times[3:5]), sum(times)


def memory_bytes(proc: Path = _PROC) -> tuple[int, int]:
    """Total and used memory of the host; zeros where it cannot be read."""
    try:
        lines = (proc / "meminfo").read_text("ascii").splitlines()
        kib = {
            name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
        }
        total, available = kib["MemTotal"], kib["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        return 0, 0
    return total * 1024, (total - available) * 1024


def _labels(model: _MeasuredModel) -> dict[str, str]:
    return {"model": model.name, "version": model.version}
