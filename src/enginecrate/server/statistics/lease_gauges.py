"""Gauges of the memory that requests lie in."""

from __future__ import annotations

from functools import partial

from enginecrate.server.memory.leases import STATES, LeasePool, LeaseState
from enginecrate.server.statistics.layout import GaugeName
from enginecrate.server.statistics.page import CounterPage

__all__ = ["LEASE_GAUGES", "measure_leases"]

LEASE_GAUGES: dict[LeaseState, GaugeName] = {
    "filling": "leases_filling",
    "submitted": "leases_submitted",
    "answered": "leases_answered",
}


def measure_leases(page: CounterPage, pool: LeasePool) -> None:
    """Publish the leases of a process's pool on its page."""
    for state in STATES:
        page.measure(LEASE_GAUGES[state], partial(pool.states.__getitem__, state))
    page.measure("arena_bytes", lambda: pool.reserved_bytes)
