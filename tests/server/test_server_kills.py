"""Processes of a server that are killed while clients send: what is lost, and what is not."""

import contextlib
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from server_process import Launcher, RunningServer
from tiny_projects import npz, scale_model, write_golden, write_project

CLIENTS = 8
LIMIT = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    launcher = Launcher(tmp_path, front_ends=2)
    yield launcher(write_project(tmp_path / "project", scale_model()))
    launcher.close()


class Load:
    """Clients that send numbers of their own, each on a kept connection.

    outcomes: how often what came: 200, 503, or the name of a broken connection's error.
    wrong: answers that belong to another request, or that lack what they should have.
    """

    def __init__(self, server: RunningServer) -> None:
        self.outcomes: Counter[int | str] = Counter()
        self.wrong: list[str] = []
        self._server = server
        self._numbers = itertools.count(1)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(LIMIT)

    def wait_for(self, outcome: int | str, more: int) -> None:
        """Wait until so many more of an outcome have come."""
        wanted = self.outcomes[outcome] + more
        wait_until(lambda: self.outcomes[outcome] >= wanted or bool(self.wrong))

    def _send(self) -> None:
        with self._server.client() as client:
            while not self._ended.is_set():
                outcome = self._ask(client, next(self._numbers))
                with self._lock:
                    self.outcomes[outcome] += 1

    def _ask(self, client: httpx.Client, number: int) -> int | str:
        values = [number, number + 0.5, -number, 1]
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": values}
        try:
            answer = client.post("/v2/models/tiny/infer", json={"inputs": [tensor]})
        except httpx.TransportError as exc:
            return type(exc).__name__
        if answer.status_code == 200:
            found = answer.json()["outputs"][0]["data"]
            if found != [2 * value for value in values]:
                self.wrong.append(f"{values} became {found}")
        elif answer.status_code != 503 or answer.headers.get("retry-after") is None:
            self.wrong.append(f"{answer.status_code} {answer.headers} {answer.text}")
        else:
            time.sleep(0.01)
        return answer.status_code


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100 * LIMIT):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def processes(server: RunningServer, module: str) -> list[int]:
    pid = server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = []
    for each in children:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if module in Path(f"/proc/{each}/cmdline").read_text():
                found.append(int(each))
    return found


def ready(server: RunningServer) -> dict:
    """What each front end says of itself."""
    with server.client() as client:
        return client.get("/v2/health/ready").json()


def test_a_front_end_takes_only_its_own_connections_with_it(server):
    with Load(server) as load:
        load.wait_for(200, 100)
        first, second = processes(server, "front_end")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: ready(server)["front_ends"] == {"open": 1, "wanted": 2})
        load.wait_for(200, 200)
        wait_until(lambda: len(processes(server, "front_end")) == 2)
        assert second in processes(server, "front_end")
        load.wait_for(200, 100)
    assert load.wrong == []
    broken = {name: count for name, count in load.outcomes.items() if isinstance(name, str)}
    assert 1 <= sum(broken.values()) <= CLIENTS // 2  # each of its clients once
    assert load.outcomes[503] == 0
    wait_until(lambda: ready(server)["front_ends"] == {"open": 2, "wanted": 2})
    assert server.stop() == 0


def test_an_engine_process_that_is_killed_is_told_to_every_client(server):
    with Load(server) as load:
        load.wait_for(200, 100)
        (engine,) = processes(server, "engine_process")
        fronts = processes(server, "front_end")
        os.kill(engine, signal.SIGKILL)
        load.wait_for(503, 10)
        refused = ready(server)
        assert (refused["ready"], refused["reason"]) == (
            False, "the engine has ended and is started again"
        )  # fmt: skip
        load.wait_for(200, 200)
        assert processes(server, "front_end") == fronts
    assert load.wrong == []
    assert set(load.outcomes) == {200, 503}  # no connection was lost
    assert ready(server)["ready"]
    assert server.stop() == 0


@pytest.mark.full
def test_processes_that_are_killed_in_turn(server):
    """Less often than what ends the server; at last its memory and descriptors are as before."""
    pids = {"engine_process": 1, "front_end": 2}
    with Load(server) as load:
        load.wait_for(200, 200)
        for module in ("front_end", "engine_process", "front_end", "engine_process"):
            os.kill(processes(server, module)[0], signal.SIGKILL)
            wait_until(lambda m=module: len(processes(server, m)) == pids[m])
            load.wait_for(200, 300)
    assert load.wrong == []
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    leases = [line for line in lines if line.startswith("enginecrate_arena_leases{")]
    assert leases
    assert {line.rpartition(" ")[2] for line in leases} == {"0.0"}
    assert server.stop() == 0


@pytest.mark.full
def test_a_plan_that_is_turned_down_is_shown_by_front_ends(tmp_path: Path):
    project = write_project(tmp_path / "project", scale_model())
    tensor = {"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    write_golden(project, npz(x=np.ones((1, 4), np.float32)), {"outputs": [tensor]})
    launcher = Launcher(tmp_path, front_ends=2)
    try:
        server = launcher(project, ready=False)
        with server.client() as client:
            wait_until(lambda: client.get("/v2/models/tiny").status_code == 200)
            health = client.get("/v2/health/ready")
            assert health.status_code == 503
            assert "golden samples gave another result" in health.json()["reason"]
            status = client.get("/v1/status").json()
        assert (status["state"], status["golden"]["state"]) == ("failed", "failed")
    finally:
        launcher.close()
