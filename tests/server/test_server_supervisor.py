"""The supervisor with small children of its own: dealing, restarts, drain, settings, logs."""

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from server_process import RunningServer, first_line

_LAUNCH = """
import sys
from pathlib import Path
from enginecrate.server.processes.front_end_count import FrontEndCount
from enginecrate.server.processes.supervisor import Commands, supervise
from enginecrate.settings import load_settings
fakes, folder, count = sys.argv[1:4]
flags = dict(pair.split("=", 1) for pair in sys.argv[4:])
def read():
    return load_settings(file=Path(folder, "settings.toml"), environment={}, flags=flags)
Path(folder, "settings.toml").touch()
supervise(
    Path(folder), read(), FrontEndCount(int(count), 1 << 26, "as the test says"),
    announce=lambda url: print(url, flush=True), read_settings=read,
    commands=Commands((sys.executable, fakes, "engine"), (sys.executable, fakes, "front_end")),
)
if {"numpy", "onnx", "onnxruntime", "PIL"} & set(sys.modules):
    raise SystemExit("the supervisor has imported too much")
import threading
if threading.active_count() > 1:
    raise SystemExit("the supervisor has threads")
"""
FAKES = Path(__file__).parent / "fake_children.py"
LIMIT = 30


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., RunningServer]]:
    servers = []

    def start(front_ends: int = 2, *, listens: bool = True, **settings) -> RunningServer:
        flags = [f"{name}={value}" for name, value in {"http_port": 0, **settings}.items()]
        log = tmp_path / f"server-{len(servers)}.log"
        with log.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(FAKES), str(tmp_path), str(front_ends), *flags],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        server = RunningServer(process, first_line(process).strip() if listens else "", log)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.process.stdout.close()
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


def ask(server: RunningServer, path: str = "/") -> list[str]:
    return httpx.get(f"{server.url}{path}", timeout=LIMIT, trust_env=False).text.split()


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(100 * LIMIT):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def wait_in_vain(server: RunningServer) -> None:
    with pytest.raises(httpx.TransportError):
        ask(server, "/slow")


def wait_until_busy(server: RunningServer) -> None:
    """Of two front ends one has a slow request: then the other takes every new connection."""
    wait_until(lambda: len({ask(server)[0] for _ in range(8)}) == 1)


def all_open(server: RunningServer, count: int) -> None:
    wait_until(lambda: ask(server, "/ready")[1:] == [str(count), str(count)])


def children(server: RunningServer) -> set[int]:
    return set(map(int, Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
                   .read_text().split()))  # fmt: skip


def is_gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_message(words: str) -> Callable[[dict], bool]:
    return lambda record: words in record["message"]


def test_connections_go_to_the_front_end_with_the_fewest(start):
    server = start(4)
    all_open(server, 4)
    clients = [httpx.Client(base_url=server.url, trust_env=False) for _ in range(32)]
    kept = [client.get("/").text.split()[0] for client in clients]
    assert Counter(kept) == dict.fromkeys("1234", 8)
    for client, number in zip(clients, kept, strict=True):
        if number == "3":
            client.close()
    later = [httpx.Client(base_url=server.url, trust_env=False) for _ in range(8)]

    def place(client: httpx.Client) -> str:
        return client.get("/").text.split()[0]

    # The supervisor learns of closed connections a moment later.
    wait_until(lambda: ask(server)[0] == "3")
    assert {place(client) for client in later} == {"3"}
    for client in [*clients, *later]:
        client.close()
    assert server.stop() == 0


def test_more_connections_than_descriptors_end_no_process(start):
    """They wait in the kernel; a front end that is handed too many would lose its channel."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        server = start(2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    all_open(server, 2)
    before = children(server)
    address = httpx.URL(server.url)
    idle = [socket.create_connection((address.host, address.port), LIMIT) for _ in range(600)]

    def held() -> list[int]:
        return [len(list(Path(f"/proc/{child}/fd").iterdir())) for child in children(server)]

    wait_until(lambda: sum(held()) > 2 * 192)  # both are full, or are gone
    for each in idle:
        each.close()
    all_open(server, 2)
    assert children(server) == before
    assert server.stop() == 0


def test_a_second_server_on_the_port_is_refused(start):
    server = start(1)
    second = start(1, listens=False, http_port=server.port)
    assert second.process.wait(LIMIT) == 1
    assert "AddressInUse: port" in second.log.read_text()
    assert len(ask(server)) == 2


def test_a_front_end_that_is_killed_comes_back_and_takes_only_its_own_with_it(start):
    server = start(2)
    all_open(server, 2)
    clients = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(2)]

    def get(client: http.client.HTTPConnection) -> list[str]:
        client.request("GET", "/")
        return client.getresponse().read().decode().split()

    owners = [get(client) for client in clients]
    assert {number for number, _ in owners} == {"1", "2"}
    os.kill(int(owners[0][1]), signal.SIGKILL)
    with pytest.raises(ConnectionError):
        get(clients[0])
    assert get(clients[1]) == owners[1]
    for client in clients:
        client.close()
    assert len(ask(server)) == 2
    server.wait_for_log(is_message("was killed by SIGKILL; it is started again in 0.1 s"))
    all_open(server, 2)
    assert server.stop() == 0


def test_a_stopped_front_end_loses_no_connection_that_it_has_not_taken(start):
    server = start(2)
    all_open(server, 2)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        _, process = client.get("/").text.split()
        os.kill(int(process), signal.SIGSTOP)
        answers: list[list[str]] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(server))) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) >= 4)  # those of the other one
        os.kill(int(process), signal.SIGKILL)
        for thread in threads:
            thread.join(LIMIT)
    assert len(answers) == 8
    assert {each[1] for each in answers}.isdisjoint({process})


@pytest.mark.full
def test_an_engine_process_that_is_killed_comes_back(start, tmp_path):
    server = start(2)
    all_open(server, 2)
    before = children(server)
    fronts = set()
    for _ in range(2):
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            fronts.add(int(client.get("/").text.split()[1]))
            with httpx.Client(base_url=server.url, trust_env=False) as second:
                fronts.add(int(second.get("/").text.split()[1]))
    (engine,) = before - fronts
    os.kill(engine, signal.SIGKILL)
    server.wait_for_log(is_message("engine was killed by SIGKILL; it is started again"))
    wait_until(lambda: len(children(server)) == 3)
    assert engine not in children(server)
    assert fronts <= children(server)
    assert server.stop() == 0


def test_an_engine_process_that_hangs_is_ended(start, tmp_path):
    server = start(1)
    (tmp_path / "hang").touch()
    server.wait_for_log(is_message("engine says nothing for"))
    server.wait_for_log(is_message("engine was killed by SIGKILL; it is started again"))
    assert server.stop() == 0


def test_crashes_without_end_end_the_server_with_a_code(start, tmp_path):
    server = start(1)
    all_open(server, 1)
    (tmp_path / "crash").touch()
    assert server.process.wait(LIMIT) == 1
    log = server.log.read_text()
    assert "ServerProcessFailed: 5 crashes within 60 seconds (engine)" in log
    assert "engine was killed by SIGSEGV" in log


@pytest.mark.full
def test_an_engine_process_that_cannot_start_ends_the_server_with_its_error(start, tmp_path):
    (tmp_path / "fail").touch()
    server = start(2, listens=False)
    assert server.process.wait(LIMIT) == 1
    assert "ModelInvalid: the model is no model" in server.log.read_text()
    assert "listening" not in server.log.read_text()


def test_no_child_outlives_a_supervisor_that_is_killed(start):
    server = start(3)
    all_open(server, 3)
    processes = children(server)
    assert len(processes) == 4
    server.process.kill()
    server.process.wait(LIMIT)
    wait_until(lambda: all(is_gone(process) for process in processes))


def test_signals_to_the_group_end_no_child_early(start, tmp_path):
    """As a terminal's Ctrl-C, or a service manager that signals every process."""
    server = start(2)
    all_open(server, 2)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(server, "/slow")))
    thread.start()
    wait_until_busy(server)
    for process in [*children(server), server.process.pid]:
        os.kill(process, signal.SIGTERM)
    server.wait_for_log(is_message("stopping"))
    (tmp_path / "gate").touch()
    thread.join(LIMIT)
    assert len(answers[0]) == 2
    assert server.process.wait(LIMIT) == 0


@pytest.mark.full
def test_the_drain_is_announced_before_the_listeners_close(start):
    server = start(2, drain_seconds=1)
    all_open(server, 2)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ask(server, "/ready")[0] == "False")  # by new connections
    assert server.process.wait(LIMIT) == 0


@pytest.mark.full
def test_a_request_without_end_does_not_hold_the_server(start):
    server = start(2, shutdown_seconds=0.3)
    all_open(server, 2)
    thread = threading.Thread(target=wait_in_vain, args=[server])
    thread.start()
    wait_until_busy(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(LIMIT) == 0
    thread.join(LIMIT)


@pytest.mark.full
def test_a_second_interrupt_ends_at_once(start):
    server = start(2, shutdown_seconds=600)
    all_open(server, 2)
    processes = children(server)
    thread = threading.Thread(target=wait_in_vain, args=[server])
    thread.start()
    wait_until_busy(server)
    server.process.send_signal(signal.SIGINT)
    server.wait_for_log(is_message("stopping"))
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(LIMIT) == 130
    thread.join(LIMIT)
    wait_until(lambda: all(is_gone(process) for process in processes))


def test_new_settings_reach_every_process(start, tmp_path):
    server = start(2)
    all_open(server, 2)
    (tmp_path / "settings.toml").write_text('log_level = "debug"\nhost = "0.0.0.0"\n')
    server.process.send_signal(signal.SIGHUP)
    record = server.wait_for_log(is_message("the settings were read again"))
    assert record["changed"] == ["log_level"]
    assert record["restart"] == ["host"]
    server.wait_for_log(is_message("all processes use the new settings"))
    for _ in range(2):
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            client.get("/")
            assert ask(server, "/settings") == ["debug", "0"]
    assert server.stop() == 0


@pytest.mark.full
def test_bad_settings_change_nothing_and_say_why(start, tmp_path):
    server = start(1)
    all_open(server, 1)
    (tmp_path / "settings.toml").write_text('log_level = "debug"\nmax_pending = 0\n')
    server.process.send_signal(signal.SIGHUP)
    record = server.wait_for_log(is_message("the settings stay as they are"))
    assert record["level"] == "error"
    assert "max_pending must be at least 1" in record["message"]
    assert ask(server, "/settings") == ["info", "0"]
    assert server.stop() == 0


@pytest.mark.full
def test_a_class_with_a_state_keeps_one_front_end(start, tmp_path):
    (tmp_path / "stateful").touch()
    server = start(4)
    all_open(server, 1)
    record = server.wait_for_log(is_message("one front end serves"))
    assert "stateless = true" in record["message"]
    assert len(children(server)) == 2


def test_log_files_have_the_lines_of_all_processes(start, tmp_path):
    server = start(2, log_dir=tmp_path / "logs", log_level="debug")
    all_open(server, 2)
    assert server.stop() == 0
    lines = (tmp_path / "logs" / "enginecrate.log").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records == server.records()
    assert "stopped" in {record["message"] for record in records}


@pytest.mark.full
def test_children_inherit_nothing_but_what_is_theirs(start):
    """Neither the listening sockets nor the channels of others."""
    server = start(2)
    all_open(server, 2)
    held = {
        str(link.readlink())
        for process in children(server)
        for link in Path(f"/proc/{process}/fd").iterdir()
    }
    socket_lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f":{server.port:04X}"
    inodes = {line.split()[9] for line in socket_lines if line.split()[1].endswith(port)
              and line.split()[3] == "0A"}  # fmt: skip
    assert inodes
    assert not {f"socket:[{inode}]" for inode in inodes} & held
