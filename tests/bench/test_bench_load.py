"""The closed loop, against small servers that do what the test wants."""

import os
import signal
import threading
from pathlib import Path

import pytest

from bench_peer import Peer, peer, reply
from enginecrate.bench.load import LoadPlan, run_load
from enginecrate.bench.result import make_result
from enginecrate.bench.wire import RESULTS, Payload, parse_address
from enginecrate.errors import SystemRefused, UsageError


def plan(found: Peer, **options) -> LoadPlan:
    payloads = [Payload("one", b"1"), Payload("two", b"22"), Payload("three", b"333")]
    options = {"warmup_seconds": 0, "connections": 2, "requests": 30, **options}
    return LoadPlan(parse_address(found.url, "/v1/predict"), payloads, **options)


def test_so_many_requests_over_so_many_connections():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found, connections=3))
    assert (measured.latencies.count, dict(measured.errors)) == (30, {})
    assert (found.connections, len(found.bodies)) == (3, 30)
    assert found.most <= 3
    assert {body: found.bodies.count(body) for body in set(found.bodies)} == {
        b"1": 10, b"22": 10, b"333": 10,
    }  # fmt: skip
    latencies = measured.latencies
    assert 0 < latencies.least_ns <= latencies.most_ns <= measured.seconds * 1e9
    assert latencies.total_ns <= 3 * measured.seconds * 1e9


def test_the_warm_up_counts_for_nothing():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found, warmup_seconds=0.1, requests=5))
    assert measured.latencies.count == 5
    assert len(found.bodies) > 5


def test_by_time():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found, requests=0, seconds=0.2))
    assert measured.latencies.count == len(found.bodies) > 0


def test_what_goes_wrong_is_counted_by_reason():
    def answer(number: int, body: bytes) -> bytes:
        kinds = [
            reply(b"good"),
            reply(b"{}", "503 Service Unavailable"),
            b"",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ]
        return kinds[number % 4]

    with peer(answer) as found:
        load = plan(found, connections=1, requests=16)
        measured = run_load(load)
    assert measured.latencies.count == 4
    assert measured.errors["status 503"] == 4
    assert measured.errors["the answer has no content-length"] == 4
    assert sum(measured.errors.values()) == 12
    result = make_result(load, measured, None)
    assert not result.passed
    assert result.requests == 4


def test_a_server_that_closes_each_connection():
    with peer(lambda number, body: reply(b"x", extra="Connection: close\r\n"), keep=False) as found:
        measured = run_load(plan(found, requests=6))
    assert (measured.latencies.count, dict(measured.errors)) == (6, {})
    assert found.connections == 6


def test_nobody_is_there():
    with peer(lambda number, body: b"") as found:
        pass
    measured = run_load(plan(found, requests=2))
    assert list(measured.errors.values()) == [2]
    assert not measured.latencies.count


def test_no_answer_in_time():
    with peer(lambda number, body: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") as found:
        measured = run_load(plan(found, requests=2, timeout=0.1))
    assert dict(measured.errors) == {"no answer within 0.1 s": 2}


def test_wrong_answers_are_found():
    def answer(number: int, body: bytes) -> bytes:
        results = b'["bad"]' if number % 10 == 0 else b'["good"]'
        return reply(b'{"request_id":"%d","results":%s,"timing_ms":{"a":%d}}'
                     % (number, results, number))  # fmt: skip

    with peer(answer) as found:
        load = plan(found, stable=RESULTS)
        measured = run_load(load)
    assert len(measured.answers) <= 6
    result = make_result(load, measured, lambda name, part: "" if b"good" in part else "is bad")
    assert (result.requests, result.wrong, result.checked) == (30, 3, True)
    assert not result.passed
    assert all(reason.endswith(": is bad") for reason in result.wrong_reasons)


def test_ctrl_c_gives_what_there_is():
    def answer(number: int, body: bytes) -> bytes:
        if number == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return reply(b"same")

    with peer(answer) as found:
        load = plan(found, requests=0, seconds=600)
        measured = run_load(load)
    assert measured.interrupted
    assert measured.latencies.count >= 8
    assert make_result(load, measured, None).interrupted


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000", ("localhost", 8000, "/v1/predict", False)),
        ("http://localhost:8000/", ("localhost", 8000, "/v1/predict", False)),
        ("localhost:8000", ("localhost", 8000, "/v1/predict", False)),
        ("http://[::1]:80/app/v1/predict", ("::1", 80, "/app/v1/predict", False)),
        ("https://example.com/app", ("example.com", 443, "/app/v1/predict", True)),
    ],
)
def test_addresses(url: str, expected: tuple):
    found = parse_address(url, "/v1/predict")
    assert (found.host, found.port, found.path, found.secure) == expected


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://host:port", ""])
def test_no_addresses(url: str):
    with pytest.raises(UsageError, match="is no HTTP address"):
        parse_address(url, "/v1/predict")


def test_what_two_right_answers_share():
    body = b'{"model":"m","request_id":"1","results":[{"a":1}],"timing_ms":{"total":3}}'
    assert RESULTS.part(body) == b'[{"a":1}]'
    assert RESULTS.part(b"something else") == b"something else"


def test_several_processes_share_the_load():
    with peer(lambda number, body: reply(b"same")) as found:
        measured = run_load(plan(found, connections=5, requests=31, processes=3))
    assert (measured.latencies.count, dict(measured.errors)) == (31, {})
    assert (found.connections, len(found.bodies)) == (5, 31)
    assert sum(measured.answers.values()) == 31


def test_a_load_process_that_is_killed_is_an_error():
    def answer(number: int, body: bytes) -> bytes:
        if number == 3:
            children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        return reply(b"same")

    with peer(answer) as found, pytest.raises(SystemRefused, match="a load process ended"):
        run_load(plan(found, requests=0, seconds=600))
