"""Statistics of several processes: one page each, and sums that never fall."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from statistics_processes import ROUND

from enginecrate.server.api.metrics import Metrics
from enginecrate.server.memory.leases import STATES, LeasePool
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.statistics import latencies, page
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.layout import BATCH_ROWS
from enginecrate.server.statistics.lease_gauges import measure_leases
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.server.statistics.page import PageError, StatisticsPages, make_pages, open_pages

_SCRIPT = Path(__file__).with_name("statistics_processes.py")


@pytest.fixture
def pages() -> Iterator[StatisticsPages]:
    made = make_pages(4, shared=True)
    yield made
    os.close(made.fd)


def start(pages: StatisticsPages, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(_SCRIPT), arguments[0], str(pages.fd), *arguments[1:]],
        pass_fds=[pages.fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_sums_never_fall_while_processes_are_killed(pages: StatisticsPages):
    reader = start(pages, "read")
    told = lives = 0
    view = ModelStatistics(pages, 0).view
    pages[0].begin("supervisor", os.getpid())
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"begun\n"
    for _ in range(2):
        writers = []
        for number in (1, 2):
            writer = start(pages, "write", str(number))
            pages[number].begin("front_end", writer.pid)
            writers.append(writer)
            lives += 1
        for writer in writers:
            assert writer.stdout is not None
            told += len(writer.stdout.read(3))
            writer.send_signal(signal.SIGKILL)
            told += len(writer.stdout.read())
            writer.wait()
            writer.stdin.close()  # type: ignore[union-attr]
            writer.stdout.close()
        for number in (1, 2):
            pages[number].end()
    out, _ = reader.communicate(timeout=30)
    assert reader.returncode == 0
    assert int(out) > 10
    totals = view.totals()
    assert told * ROUND <= totals.success.count <= told * ROUND + lives * ROUND
    assert sum(duration.count for duration in totals.batches.values()) == totals.executions
    assert totals.processes["front_end"].living == 0
    assert totals.processes["front_end"].restarts == lives - 2
    assert totals.gauges["pending"] == 0


def test_a_process_goes_on_with_the_page_of_the_dead_one(pages: StatisticsPages):
    pages[0].begin("engine", 10)
    first = ModelStatistics(pages, 0)
    first.executed(3, 1000)
    first.executed(5, 1000)
    first.answered(1.0, 0.1, 0.5)
    pages[0].end()
    pages[0].begin("engine", 11)
    second = ModelStatistics(open_pages(pages.fd), 0)
    second.executed(5, 1000)
    second.answered(1.0, 0.1, 0.5)
    totals = first.view.totals()
    assert {size: batch.count for size, batch in totals.batches.items()} == {3: 1, 5: 2}
    assert first.view.latencies().count == 2
    assert totals.processes["engine"].restarts == 1


def test_sums_over_pages_and_gauges_of_living_processes(pages: StatisticsPages):
    for number, kind in enumerate(["engine", "front_end", "front_end"]):
        pages[number].begin(kind, 100 + number)  # type: ignore[arg-type]
    engine, *front_ends = (ModelStatistics(pages, number) for number in range(3))
    engine.executed(4, 2000)
    engine.page.measure("pending", lambda: 5)
    engine.page.measure("queue_seconds", lambda: 0.5)
    engine.page.publish()
    for number, front_end in enumerate(front_ends):
        front_end.succeeded(2, 1_000_000, Execution({}, 4, 1000, 2000, 500_000, 3000))
        front_end.page.measure("connections", lambda count=number + 1: count)
        front_end.page.publish()
    totals = front_ends[0].view.totals()
    assert (totals.success.count, totals.inferences, totals.executions) == (2, 4, 1)
    assert totals.gauges["pending"] == 5
    assert totals.gauges["connections"] == 3
    assert totals.gauges["queue_seconds"] == 0.5
    pages[2].end()
    totals = front_ends[0].view.totals()
    assert (totals.success.count, totals.gauges["connections"]) == (2, 1)
    assert totals.processes["front_end"].living == 1


def test_gauges_are_published_while_a_loop_runs(
    pages: StatisticsPages, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page, "_PUBLISH_SECONDS", 0.001)
    pages[0].begin("engine", 1)
    readings = iter(range(1, 1_000_000))
    pages[0].measure("pending", lambda: next(readings))
    other = open_pages(pages.fd)[0]

    async def wait() -> None:
        pages[0].publish_regularly()
        while other.gauges()["pending"] < 3:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(wait(), 30))


def test_batch_sizes_that_find_no_row_are_counted_as_runs():
    statistics = ModelStatistics()
    for size in range(1, BATCH_ROWS + 3):
        statistics.executed(size, 10)
    totals = statistics.view.totals()
    assert totals.executions == BATCH_ROWS + 2
    assert sorted(totals.batches) == list(range(1, BATCH_ROWS + 1))


def test_old_latencies_are_left_out(monkeypatch: pytest.MonkeyPatch):
    statistics = ModelStatistics()
    now = 1000.0
    monkeypatch.setattr(latencies.time, "monotonic", lambda: now)
    counts = []
    for _ in range(40):
        statistics.answered(1.0, 0.1, 0.5)
        counts.append(statistics.view.latencies().count)
        now += 3
    assert counts[:20] == list(range(1, 21))
    assert all(18 <= count <= 21 for count in counts[20:])  # 55 to 60 seconds of one in 3
    now += 100
    assert statistics.view.latencies().count == 0


def test_what_is_no_page_is_refused(tmp_path: Path):
    fd = os.memfd_create("other")
    try:
        with pytest.raises(PageError, match="no statistics"):
            open_pages(fd)
    finally:
        os.close(fd)
    with (tmp_path / "file").open("w+b") as file, pytest.raises(PageError, match="no statistics"):
        open_pages(file.fileno())
    made = make_pages(1, shared=True)
    made[0].words[0] += 1
    with pytest.raises(PageError, match="of this version"):
        open_pages(made.fd)
    os.close(made.fd)


def test_metrics_of_the_server(pages: StatisticsPages):
    pages[0].begin("engine", 1)
    pages[1].begin("front_end", 2)
    statistics = ModelStatistics(pages, 1)
    http = HttpStatistics(statistics.page)
    for status in (200, 200, 404, 429):
        http.answered(status)
    http.refused("share")
    http.refused("a reason of tomorrow")
    http.connected()
    statistics.page.measure("connections", lambda: 3)
    pool = LeasePool(1 << 20)
    measure_leases(statistics.page, pool)
    leases = [pool.lease(100), pool.lease(100)]
    leases[0].mark("submitted")
    pages[0].end()
    pages[0].begin("engine", 3)
    text = Metrics(list, statistics.view).render().decode()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["enginecrate_http_responses_total", "2xx"] == 2
    assert values["enginecrate_http_responses_total", "4xx"] == 2
    assert values["enginecrate_http_responses_total", "5xx"] == 0
    assert values["enginecrate_requests_refused_total", "share"] == 1
    assert values["enginecrate_requests_refused_total", "other"] == 1
    assert values["enginecrate_http_connections",] == 3
    assert values["enginecrate_http_connections_total",] == 1
    states = {state: values["enginecrate_arena_leases", state] for state in STATES}
    assert states == {"filling": 1, "submitted": 1, "answered": 0}
    assert values["enginecrate_arena_bytes",] == pool.reserved_bytes > 0
    assert values["enginecrate_processes", "engine"] == 1
    assert values["enginecrate_process_restarts_total", "engine"] == 1
    assert values["enginecrate_process_restarts_total", "front_end"] == 0
