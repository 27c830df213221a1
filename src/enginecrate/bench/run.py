"""One measured run: the load, and what server and machine tell meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from enginecrate.bench.host import HostMeter
from enginecrate.bench.load import LoadPlan, Measured, run_load
from enginecrate.bench.result import BenchResult, Check, Reference, make_result
from enginecrate.bench.server_statistics import ServerMeter
from enginecrate.bench.wire import Address

__all__ = ["Live", "measure"]

Live = Callable[[Measured, float], None]
"""Called several times a second with the counts so far, and the seconds since the measurement
began; these are below zero in the warm-up."""


def measure(
    plan: LoadPlan,
    check: Check | None = None,
    *,
    reference: Reference = "none",
    statistics: Address | None = None,
    live: Live | None = None,
) -> BenchResult:
    """Run a plan, and judge what came of it.

    Args:
        plan: of the load.
        check: of each different answer.
        reference: what `check` compares with.
        statistics: where the server tells its statistics.
        live: is told how it goes.

    Raises:
        SystemRefused: a load process could not start, or was killed.
    """
    meters = _Meters(statistics, live)
    measured = run_load(plan, meters)
    return make_result(
        plan,
        measured,
        check,
        reference=reference,
        server=meters.server.use() if meters.server and meters.began else None,
        host=meters.host.use() if meters.began else None,
    )


class _Meters:
    """Everything that looks at a run."""

    def __init__(self, statistics: Address | None, live: Live | None) -> None:
        self.host = HostMeter()
        self.server = ServerMeter(statistics) if statistics is not None else None
        self.began = False
        self._live = live

    def begin(self) -> None:
        self.began = True
        self.host.begin()
        if self.server is not None:
            self.server.begin()

    def sample(self) -> None:
        self.host.sample()

    def advanced(self, measured: Measured, seconds: float) -> None:
        if self._live is not None:
            self._live(measured, seconds)
