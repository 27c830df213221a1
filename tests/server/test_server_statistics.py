"""Statistics of several processes: one page each, and sums that never fall."""

import asyncio
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from server_process import RunningServer
from statistics_processes import ROUND
from tiny_projects import write_tiny_project

from enginecrate.server.api.metrics import Metrics
from enginecrate.server.logs.files import FILE_NAME
from enginecrate.server.memory.leases import STATES, LeasePool
from enginecrate.server.scheduling.batch import Execution
from enginecrate.server.statistics import latencies, page
from enginecrate.server.statistics.http_statistics import HttpStatistics
from enginecrate.server.statistics.layout import BATCH_ROWS, PARTS
from enginecrate.server.statistics.lease_gauges import measure_leases
from enginecrate.server.statistics.model_statistics import ModelStatistics
from enginecrate.server.statistics.page import PageError, StatisticsPages, make_pages, open_pages

_INFER = "/v2/models/tiny/infer"
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
    # A run that was being counted at the kill may be missing in what is counted last.
    batches = sum(duration.count for duration in totals.batches.values())
    assert 0 <= totals.executions - batches <= lives
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


def wait_until_ready(server: RunningServer) -> None:
    """Each front end has its plan a moment after the engine process has it."""
    for _ in range(3000):
        with contextlib.suppress(httpx.HTTPError), server.client() as first, server.client() as two:
            answers = [client.get("/v2/health/ready") for client in (first, two)]
            if all(answer.status_code == 200 for answer in answers):
                return
        time.sleep(0.01)
    raise AssertionError("it never became ready")


def body(batch: int) -> dict[str, list[dict[str, object]]]:
    values = {"BYTES": "a", "BOOL": True}
    return {
        "inputs": [
            {"name": name, "datatype": name, "shape": [batch, 3],
             "data": [values.get(name, 1)] * 3 * batch}
            for name in ("FP32", "FP16", "INT64", "UINT8", "BOOL", "BYTES")
        ]
    }  # fmt: skip


def series(server: RunningServer) -> dict[str, float]:
    """Every series of `/metrics`, counters and others."""
    with server.client() as client:
        lines = client.get("/metrics").raise_for_status().text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


@pytest.mark.parametrize("front_ends", [0, 2])
def test_what_is_counted_is_counted_once(launch, tmp_path: Path, front_ends: int):
    logs = tmp_path / "logs"
    server = launch(write_tiny_project(tmp_path / "tiny"), frontends=front_ends, log_dir=logs)
    wait_until_ready(server)
    before = series(server)
    for _ in range(4):
        with server.client() as one, server.client() as another:  # one for each front end
            assert one.post(_INFER, json=body(2)).status_code == 200
            assert another.post(_INFER, json=body(1)).status_code == 200
    with server.client() as client:
        assert client.post(_INFER, json={"inputs": []}).status_code == 400
        assert client.get("/nowhere").status_code == 404
    after = series(server)
    model = 'model="tiny",version="1.2.3"'
    grown = {name: after[name] - before[name] for name in after if name in before}
    assert grown[f"nv_inference_request_success{{{model}}}"] == 8
    assert grown[f"nv_inference_count{{{model}}}"] == 12
    assert grown[f"nv_inference_exec_count{{{model}}}"] == 8
    assert grown['nv_inference_request_failure{model="tiny",reason="OTHER",version="1.2.3"}'] == 1
    for part in PARTS:
        assert grown[f"nv_inference_{part}_duration_histogram_us_count{{{model}}}"] == 8
    assert grown['enginecrate_http_responses_total{status="2xx"}'] == 9  # with that of `before`
    assert grown['enginecrate_http_responses_total{status="4xx"}'] == 2
    assert grown["enginecrate_http_connections_total"] == 10
    kinds = {name.split('"')[1]: value for name, value in after.items()
             if name.startswith("enginecrate_processes{")}  # fmt: skip
    many = {"supervisor": 1, "engine": 1, "front_end": front_ends}
    assert kinds == (many if front_ends else {"server": 1})
    with server.client() as client:
        status = client.get("/v1/status").json()
        (entry,) = client.get("/v2/models/stats").json()["model_stats"]
    assert status["requests"]["success"] == status["latency_ms"]["count"] == 8
    assert status["requests"]["executions"] == entry["execution_count"] == 8
    assert [(row["batch_size"], row["compute_infer"]["count"]) for row in entry["batch_stats"]] == [
        (1, 4), (2, 4)
    ]  # fmt: skip
    server.stop()
    lines = server.records()
    requests = [line for line in lines if line["logger"] == "enginecrate.server.request"]
    assert sum("model" in line for line in requests) == 8  # none is lost
    assert sorted(map(str, lines)) == sorted(map(str, records_of(logs / FILE_NAME)))


def records_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def process_of(server: RunningServer, module: str) -> int:
    """A child of the supervisor."""
    pid = server.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if module in Path(f"/proc/{child}/cmdline").read_text():
            return int(child)
    raise AssertionError(f"no {module} runs")


def watch(server: RunningServer, kind: str) -> None:
    """Read all metrics until a killed process is replaced, and requests are answered again."""
    restarted = f'enginecrate_process_restarts_total{{kind="{kind}"}}'
    successes = 'nv_inference_request_success{model="tiny",version="1.2.3"}'
    before: dict[str, float] = {}
    wanted = math.inf
    for _ in range(3000):
        with contextlib.suppress(httpx.HTTPError):
            now = {name: value for name, value in series(server).items() if is_counter(name)}
            fallen = {name: (value, now[name]) for name, value in before.items()
                      if now[name] < value}  # fmt: skip
            assert fallen == {}
            before = now
            if now[successes] >= wanted:
                return
            if now[restarted] and wanted == math.inf:
                wanted = now[successes] + 20
        time.sleep(0.01)
    raise AssertionError(f"{kind} never came back")


@pytest.mark.full
def test_no_counter_of_a_server_falls_when_its_processes_are_killed(launch, tmp_path: Path):
    server = launch(write_tiny_project(tmp_path / "tiny"), frontends=2)
    wait_until_ready(server)
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            with contextlib.suppress(httpx.HTTPError), server.client() as client:
                for _ in range(20):
                    client.post(_INFER, json=body(1))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for kind in ("front_end", "engine"):
            os.kill(process_of(server, kind), signal.SIGKILL)
            watch(server, kind)
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def is_counter(name: str) -> bool:
    return name.startswith(("nv_inference_", "enginecrate_")) and any(
        part in name
        for part in ("_success", "_failure", "_count", "_us", "_total", "_bucket", "_sum")
        if "pending" not in name
    )
