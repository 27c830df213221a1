"""The runs that the options of `enginecrate bench` ask for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from enginecrate.bench.load import LoadPlan
from enginecrate.bench.objective import Objective, SearchResult, highest_rate
from enginecrate.bench.result import BenchResult
from enginecrate.bench.run import measure
from enginecrate.cli.serving.bench_body import Body
from enginecrate.cli.serving.bench_live import show_run
from enginecrate.cli.serving.bench_options import Arrivals, LoadOptions

__all__ = ["rate_search", "single_runs"]

_SEARCH_CONNECTIONS = 32
"""Of the closed loop that tells where the search begins."""
_WAITS = 20
"""Latency limits after which a request of the search is given up."""
_LEAST_TIMEOUT = 2.0


def single_runs(body: Body, load: LoadOptions) -> Iterator[BenchResult]:
    """A run for each number of connections, or for each rate. Ctrl-C ends them."""
    connections = load.all_connections()
    plan = _plan(body, load)
    plans = [replace(plan, connections=connections[0], rate=rate) for rate in load.all_rates()]
    for one in plans or [replace(plan, connections=number) for number in connections]:
        result = _run(body, one)
        yield result
        if result.interrupted:
            return


def rate_search(body: Body, load: LoadOptions, objective: Objective) -> SearchResult:
    """The highest rate that holds; a closed loop tells where to begin."""
    (connections,) = load.all_connections()
    plan = _plan(body, load)
    first = _run(body, replace(plan, connections=min(_SEARCH_CONNECTIONS, connections)))
    if first.interrupted or not first.passed:
        return SearchResult(
            objective=str(objective), rate=0.0, trials=(), runs=(first,),
            interrupted=first.interrupted,
        )  # fmt: skip
    # A request that waits for so long has broken the objective: what comes later need not wait.
    patience = max(_LEAST_TIMEOUT, _WAITS * objective.limit_ms / 1e3)
    plan = replace(plan, connections=connections, timeout=min(plan.timeout, patience))
    seeds = itertools.count(1)  # a confirmation by the same arrivals would be none
    return highest_rate(
        lambda rate: _run(body, replace(plan, rate=rate, seed=next(seeds) << 16)),
        objective,
        guess=first.throughput,
    )


def _plan(body: Body, load: LoadOptions) -> LoadPlan:
    return LoadPlan(
        address=body.address,
        payloads=body.payloads,
        warmup_seconds=load.warmup,
        seconds=load.duration,
        requests=load.requests,
        timeout=load.timeout,
        stable=body.stable,
        poisson=load.arrivals is Arrivals.POISSON,
        processes=load.processes,
        tolerance=load.tolerance / 100,
        patience=load.until_stable,
    )


def _run(body: Body, plan: LoadPlan) -> BenchResult:
    name = f"{plan.rate:.1f} requests/s" if plan.rate else f"{plan.connections} connections"
    with show_run(plan, name) as live:
        return measure(
            plan, body.check, reference=body.reference, statistics=body.statistics, live=live
        )
