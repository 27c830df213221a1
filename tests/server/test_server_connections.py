"""Slow, silent, early-leaving and pipelining clients, on plain sockets."""

import json
import re
import socket
import threading

import numpy as np
import pytest
from tiny_projects import npz, write_tiny_project

POST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def strict_server(session_launcher, tmp_path_factory):
    """A head must arrive within 0.3 s, a body within 0.6 s."""
    project = write_tiny_project(tmp_path_factory.mktemp("strict"))
    return session_launcher(
        project, head_seconds=0.3, request_timeout_seconds=0.6, max_body_bytes=100_000
    )


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=15)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer: status, headers, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_begin_of_a_head_in_the_packet_of_another_request(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nG")
        assert read_answer(connection)[0] == 200
        assert read_answer(connection)[0] == 408
        assert is_closed(connection)


def test_an_idle_connection_is_closed_after_the_time_of_the_setting(launch, tmp_path):
    server = launch(write_tiny_project(tmp_path), keep_alive_seconds=1)
    with connect(server) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200
        assert is_closed(connection)


def test_a_head_that_never_ends(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        status, headers, body = read_answer(connection)
        assert status == 408
        assert headers["connection"] == "close"
        assert "did not arrive within 0.3 seconds" in json.loads(body)["detail"]
        assert is_closed(connection)


def test_a_drip_of_header_bytes_does_not_extend_the_time(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                connection.sendall(b"X-A: b\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert read_answer(connection)[0] == 408
        finally:
            stop.set()
            thread.join()


def test_a_client_that_says_nothing_is_hung_up_on(strict_server):
    with connect(strict_server) as connection:
        assert is_closed(connection)


def test_the_second_request_of_a_connection_has_the_same_time(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        assert read_answer(connection)[0] == 408


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nx", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"]
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v2/models/tiny/infer"])
def test_a_body_that_never_ends(strict_server, framing, path):
    with connect(strict_server) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\n" % path.encode() + framing)
        status, _, body = read_answer(connection)
        assert status == 408
        answer = json.loads(body)
        sentence = answer["error"] if path.startswith("/v2") else answer["detail"]
        assert "did not arrive within 0.6 seconds" in sentence
        assert is_closed(connection)


def test_a_refused_body_is_read_to_its_end_so_that_the_answer_arrives(strict_server):
    """The client sends everything before it reads; closing early would reset it."""
    with connect(strict_server) as connection:
        connection.sendall(POST + b"Content-Length: 3000000\r\n\r\n")
        connection.sendall(bytes(3_000_000))
        status, headers, _ = read_answer(connection)
        assert (status, headers["connection"]) == (413, "close")
        assert is_closed(connection)


def test_a_client_that_leaves_after_its_refusal_is_no_error(tiny_server):
    with connect(tiny_server) as connection:
        connection.sendall(POST + b"X-Request-Id: left-1\r\nContent-Length: 3000000\r\n\r\nabc")
        assert read_answer(connection)[0] == 413
    with tiny_server.client() as client:  # the server has noticed by then
        client.get("/v2/health/live")
    record = tiny_server.wait_for_log(lambda record: record.get("request_id") == "left-1")
    assert record["status"] == 413
    assert "error" not in {record["level"] for record in tiny_server.records()}


def test_a_chunked_body_over_the_limit_is_refused_while_it_is_read(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"30d40\r\n" + bytes(200_000) + b"\r\n0\r\n\r\n")
        status, _, body = read_answer(connection)
        assert status == 413
        assert "larger than 100000 bytes" in json.loads(body)["detail"]


def test_who_expects_100_continue_is_told_before_the_body(strict_server):
    with connect(strict_server) as connection:
        connection.sendall(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert read_answer(connection)[0] in (400, 415)
    with connect(strict_server) as connection:
        connection.sendall(POST + b"Content-Length: 5000000\r\nExpect: 100-continue\r\n\r\n")
        assert read_answer(connection)[0] == 413


def test_pipelined_requests_are_answered_in_order(tiny_server):
    with connect(tiny_server) as connection:
        connection.sendall(
            b"GET /v2/models HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while part := connection.recv(65536):
            data += part
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"404", b"200"]


def test_an_upgrade_to_another_protocol_is_answered_in_this_one(tiny_server):
    for protocol in (b"websocket", b"h2c"):
        with connect(tiny_server) as connection:
            connection.sendall(
                b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: "
                + protocol + b"\r\n\r\n"
            )  # fmt: skip
            assert read_answer(connection)[0] == 200


def test_an_old_client_of_http_1_0(tiny_server):
    with connect(tiny_server) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
        status, headers, body = read_answer(connection)
        assert (status, headers["connection"], body) == (200, "close", b'{"live":true}')
        assert is_closed(connection)


def test_the_work_for_a_client_that_left_is_not_done(launch, gated):
    project, gate = gated
    server = launch(project, decode_threads=1)
    payload = npz(x=np.ones((1, 4), np.float32))
    head = POST + b"Content-Length: %d\r\n\r\n" % len(payload)
    with connect(server) as decoding, connect(server) as waiting:
        decoding.sendall(head + payload)
        gate.wait_for_request()
        waiting.sendall(head + payload)
    # Both clients have gone.
    server.wait_for_log(lambda record: record.get("status") == 499, count=2)
    gate.open()
    with server.client() as client:
        assert client.post("/v1/predict", content=payload).status_code == 200
        requests = client.get("/v1/status").json()["requests"]
    assert requests["executions"] == 1
    assert requests["failed"] == {"REJECTED": 0, "CANCELED": 2, "BACKEND": 0, "OTHER": 0}
