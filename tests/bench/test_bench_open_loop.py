"""The open loop: intended starts, no coordinated omission, and the search for the highest rate."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench_peer import peer, reply
from enginecrate.bench.arrivals import arrival_times, split_arrivals
from enginecrate.bench.load import LoadPlan, run_load
from enginecrate.bench.objective import highest_rate, parse_objective
from enginecrate.bench.result import BenchResult, make_result
from enginecrate.bench.run import measure
from enginecrate.bench.statistics import Latency
from enginecrate.bench.wire import Payload, parse_address
from enginecrate.errors import UsageError

SECOND = 1_000_000_000


def plan(url: str, **options) -> LoadPlan:
    options = {"warmup_seconds": 0, "seconds": 1.0, "rate": 100.0, "poisson": False,
               "connections": 64, **options}  # fmt: skip
    return LoadPlan(parse_address(url, "/v1/predict"), [Payload("one", b"1")], **options)


def test_constant_arrivals_of_several_processes_are_one_stream():
    shares = split_arrivals(200, 3, poisson=False, seed=1)
    times = sorted(
        itertools.chain.from_iterable(
            itertools.islice(arrival_times(share, 10 * SECOND), 100) for share in shares
        )
    )
    assert times == [10 * SECOND + number * SECOND // 200 for number in range(300)]


def test_random_arrivals_have_the_rate_and_the_spread_of_poisson():
    shares = split_arrivals(1000, 2, poisson=True, seed=5)
    times = sorted(
        itertools.chain.from_iterable(
            itertools.islice(arrival_times(share, 0), 20_000) for share in shares
        )
    )
    distances = [later - earlier for earlier, later in itertools.pairwise(times[:30_000])]
    mean = statistics.mean(distances)
    assert mean == pytest.approx(SECOND / 1000, rel=0.03)
    assert statistics.stdev(distances) == pytest.approx(mean, rel=0.05)
    again = split_arrivals(1000, 2, poisson=True, seed=5)
    assert next(arrival_times(again[0], 0)) in times


def test_every_intended_request_is_sent():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found.url, processes=2))
    assert (measured.latencies.count, dict(measured.errors)) == (100, {})
    assert len(found.bodies) == 100
    assert measured.lag.count == 100


def test_a_number_of_requests():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found.url, rate=500.0, requests=40, poisson=True))
    assert measured.latencies.count == len(found.bodies) == 40


@pytest.mark.parametrize("connections", [1, 64])
def test_a_stall_is_charged_to_every_request_that_was_meant_to_start(connections: int):
    """The server sleeps once for 0.6 s; a closed loop of one would see one slow request."""
    stalled = threading.Event()

    def answer(number: int, body: bytes) -> bytes:
        if number == 20 and not stalled.is_set():
            stalled.set()
            time.sleep(0.6)  # the whole server: it runs in one thread
        return reply(b"same")

    with peer(answer) as found:
        measured = run_load(plan(found.url, connections=connections))
    assert measured.latencies.count == 100
    # 30 requests were meant to start in the first half of the stall, and waited for the second.
    assert measured.latencies.percentile(100 - 28) >= 0.3 * SECOND


def test_requests_that_wait_too_long_are_errors():
    def answer(number: int, body: bytes) -> bytes:
        if number == 1:
            time.sleep(0.7)
        return reply(b"same")

    with peer(answer) as found:
        measured = run_load(plan(found.url, connections=1, timeout=0.2, seconds=0.5))
    late = measured.errors["no answer within 0.2 s"]
    assert late > 10
    assert measured.latencies.count + measured.errors.total() == 50


def test_a_server_that_does_not_keep_up_is_named():
    def answer(number: int, body: bytes) -> bytes:
        time.sleep(0.02)
        return reply(b"same")

    with peer(answer) as found:
        load = plan(found.url, rate=100.0, seconds=0.5)
        result = measure(load)
    assert result.requests == 50
    assert result.seconds > 1
    assert any("does not keep up" in note for note in result.notes)
    assert (result.mode, result.rate, result.arrivals) == ("open", 100.0, "constant")


@pytest.mark.parametrize(
    ("text", "limit"), [("p99=50ms", 50), ("max=2s", 2000), ("mean<=500us", 0.5), ("P99.9=1ms", 1)]
)
def test_objectives(text: str, limit: float):
    assert parse_objective(text).limit_ms == limit


@pytest.mark.parametrize("text", ["p98=1ms", "p99", "p99=50", "p99=0ms", "p99=-1ms", "=5ms", ""])
def test_objectives_that_are_none(text: str):
    with pytest.raises(UsageError, match="for example p99=50ms"):
        parse_objective(text)


def pretended(capacity: float) -> Callable[[float], BenchResult]:
    """A server that answers within 10 ms up to its capacity, and in seconds beyond."""

    def run(rate: float) -> BenchResult:
        ms = 10.0 if rate <= capacity else 5000.0
        figures = dict.fromkeys(Latency.__struct_fields__, ms)
        return BenchResult(
            connections=1, payloads=1, warmup_seconds=0, seconds=10, requests=round(rate * 10),
            throughput=rate, latency_ms=Latency(**figures), errors={}, wrong=0, wrong_reasons=(),
            checked=True, answers=1, interrupted=False, mode="open", rate=rate,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("capacity", [3.0, 95.0, 1234.5, 9000.0])
@pytest.mark.parametrize("wrong_guess", [0.5, 1.0, 3.0])
def test_the_search_ends_below_the_capacity_and_near_it(capacity: float, wrong_guess: float):
    found = highest_rate(
        pretended(capacity), parse_objective("p99=50ms"), guess=capacity * wrong_guess
    )
    assert 0.95 * capacity <= found.rate <= capacity
    # The last trial has confirmed it.
    assert found.trials[-1] == (round(found.rate, 2), True)
    assert found.trials.count(found.trials[-1]) >= 2


def test_an_objective_that_never_holds():
    found = highest_rate(pretended(0.0), parse_objective("p99=50ms"), guess=100.0)
    assert found.rate == 0
    assert not any(held for _, held in found.trials)


def test_what_held_once_and_not_again_is_not_told():
    seen: set[float] = set()

    def once(rate: float) -> BenchResult:
        good = rate not in seen
        seen.add(rate)
        return pretended(100.0 if good else 0.0)(rate)

    found = highest_rate(once, parse_objective("p99=50ms"), guess=100.0)
    assert 0 < found.rate < max(rate for rate, held in found.trials if held)


def test_a_search_that_is_interrupted_tells_what_it_has():
    def run(rate: float) -> BenchResult:
        return replace_interrupted(pretended(100.0)(rate), interrupted=rate > 80)

    found = highest_rate(run, parse_objective("p99=50ms"), guess=100.0)
    assert found.interrupted
    assert len(found.runs) == 2


def replace_interrupted(result: BenchResult, *, interrupted: bool) -> BenchResult:
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    return BenchResult(**{**fields, "interrupted": interrupted})


@pytest.mark.full
def test_the_search_against_a_server_of_known_capacity():
    """It sleeps 5 ms for each request, one after the other: never more than 200 a second."""

    def answer(number: int, body: bytes) -> bytes:
        time.sleep(0.005)
        return reply(b"same")

    with peer(answer, pause=0) as found:
        load = plan(found.url, seconds=0.4, poisson=True, timeout=2.0, connections=64)
        closed = make_result(load, run_load(replace(load, rate=0.0, connections=8)), None)
        found_rate = highest_rate(
            lambda rate: measure(replace(load, rate=rate)),
            parse_objective("p99=150ms"),
            guess=closed.throughput,
            precision=0.4,
        )
    # The requests of 0.4 s were answered within 150 ms more, at most 200 a second. Random
    # arrivals of so short a time may be fewer than the rate by three deviations.
    assert found_rate.rate * 0.4 - 3 * (found_rate.rate * 0.4) ** 0.5 <= 200 * 0.55
    assert found_rate.rate > 0
