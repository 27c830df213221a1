"""The part of the server that speaks HTTP: the same in one process and in each front end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enginecrate.engines.cpu_cores import available_cores
from enginecrate.server.decoding.decoding import Decoding
from enginecrate.server.http.server import HttpServer
from enginecrate.server.http.shared import HttpLimits
from enginecrate.server.http.workers import Workers
from enginecrate.server.memory.budget import MemoryBudget
from enginecrate.server.memory.leases import LeasePool
from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.reload import LiveSettings
from enginecrate.server.routes import make_routes
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.lease_gauges import measure_leases
from enginecrate.settings import Settings

__all__ = ["Front", "make_front"]

_COSTLY_SHARE = 0.75
"""Part of the memory for photos that is for a costly one: one at a time, in all processes of the
server. The processes share the rest, which no costly photo can take from the cheap ones."""


@dataclass(frozen=True, slots=True)
class Front:
    """An HTTP server with the threads behind it."""

    server: HttpServer
    workers: Workers
    decoding: Decoding
    limits: HttpLimits

    def use(self, settings: Settings) -> None:
        """Take over settings that may change while the server runs."""
        self.limits.max_body_bytes = settings.max_body_bytes
        self.limits.request_timeout_seconds = settings.request_timeout_seconds
        self.limits.keep_alive_seconds = settings.keep_alive_seconds

    def close(self) -> None:
        """End the threads."""
        self.decoding.close()
        self.workers.close()


def make_front(
    model: ServedModel,
    live: LiveSettings,
    pool: LeasePool,
    *,
    processes: int = 1,
    lock: Path | None = None,
) -> Front:
    """Put the parts together, in the running loop.

    Args:
        model: that requests are for.
        live: the settings; the parts follow them.
        pool: memory for bodies.
        processes: that share the machine's cores and memory in decoding.
        lock: a file that they all lock to do something costly (`DecoderProcess`).
    """
    settings = live.settings
    threads = settings.decode_threads or max(1, available_cores() // processes)
    limit = settings.decode_memory_bytes
    budget = MemoryBudget(limit, share=(1 - _COSTLY_SHARE) / processes)
    costly = MemoryBudget(limit, share=_COSTLY_SHARE)
    workers = Workers(
        threads,
        max_pending=settings.max_pending,
        queue_seconds=settings.queue_seconds,
        name="decode",
        budget=budget,
    )
    decoding = Decoding(
        workers,
        costly,
        max_pending=settings.max_pending,
        seconds=settings.request_timeout_seconds,
        lock=lock,
    )
    limits = HttpLimits(
        settings.max_body_bytes, settings.request_timeout_seconds, settings.keep_alive_seconds
    )
    page = model.statistics.page
    routes = make_routes(model, decoding, live)
    server = HttpServer(routes, workers, pool, HttpStatistics(page), limits)
    page.measure("decoding", lambda: workers.waiting + decoding.costly.waiting)
    page.measure("connections", lambda: server.connections)
    measure_leases(page, pool)
    front = Front(server, workers, decoding, limits)
    live.on_change.append(front.use)
    return front
