"""What serving costs over computing: engine only, in-process predict, HTTP; in one run.

The ways take turns, photo by photo, so that a drift of the machine's speed meets all of them. One
client, one connection kept alive; the server is a process of its own on the same machine. The
client is a bare socket: what a client library costs is not the server's.

Prediction, written before the first run: HTTP adds about 1.5 ms to the in-process predict on two
cores: 0.5 ms to move the bytes through the sockets, 3 thread hand-overs of 0.1 ms, and the rest in
HTTP parsing. How it came out is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from enginecrate.builder.ladder.predictor import Predictor, open_predictor
from enginecrate.settings import load_settings
from machine import describe

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("enginecrate")
SAMPLE = ROOT / "samples" / "detection"
PHOTOS = (SAMPLE / "photos" / "china.jpg", SAMPLE / "golden" / "astronaut.png")
STEPS = ("decode", "queue", "compute", "postprocess")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--warm-up", type=int, default=15)
    options = parser.parse_args()
    print(describe("numpy", "onnxruntime", "uvloop"))
    with tempfile.TemporaryDirectory() as cache:
        predictor = open_predictor(SAMPLE, load_settings(flags={"cache_dir": cache}))
        with server(cache) as port, bare_server() as bare:
            for photo in PHOTOS:
                measure(predictor, port, bare, photo, options.rounds, options.warm_up)
        predictor.close()


@contextlib.contextmanager
def server(cache: str) -> Iterator[int]:
    command = [PROGRAM, "serve", "--project", SAMPLE, "--http-port", "0", "--log-format", "json",
               "--cache-dir", cache]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    port = 0
    try:
        for line in process.stdout:
            found = re.search(r'"port":(\d+)', line)
            port = int(found[1]) if found else port
            if '"message":"ready"' in line:
                break
        else:
            sys.exit("the server ended before it was ready")
        # The log goes on: somebody must read it, or the server would wait for room in the pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def bare_server() -> Iterator[int]:
    """The same HTTP library with a handler that reads the body and does nothing."""
    code = (
        "import asyncio, socket, uvloop\n"
        "from enginecrate.server.http.messages import Response\n"
        "from enginecrate.server.http.router import Route, RouteTable\n"
        "from enginecrate.server.http.server import HttpServer\n"
        "from enginecrate.server.http.shared import HttpLimits\n"
        "from enginecrate.server.http.workers import Workers\n"
        "from enginecrate.server.memory.leases import LeasePool\n"
        "from enginecrate.server.statistics.http_statistics import HttpStatistics\n"
        "from enginecrate.server.statistics.page import make_pages\n"
        "async def answer(request): return Response(200, (), (b'[' + b' ' * 398 + b']',))\n"
        "async def main():\n"
        "    listener = socket.create_server(('127.0.0.1', 0))\n"
        "    print(listener.getsockname()[1], flush=True)\n"
        "    server = HttpServer(RouteTable([Route('POST', '/v1/predict', answer)]),\n"
        "        Workers(1, max_pending=1), LeasePool(1 << 29),\n"
        "        HttpStatistics(make_pages(1, shared=False)[0]),\n"
        "        HttpLimits(1 << 26, 30, 75))\n"
        "    await server.listen([listener], 100)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


class Client:
    """Posts bodies over one connection, with as little work of its own as possible."""

    def __init__(self, port: int, path: str, body: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body

    def post(self) -> bytes:
        """Send the request; the answer's body."""
        self._socket.sendall(self._request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not head.startswith(b"HTTP/1.1 200") or found is None:
            sys.exit(f"unexpected answer: {answer!r}")
        while len(body) < int(found[1]):
            body += self._more()
        return body

    def _more(self) -> bytes:
        return self._socket.recv(65536) or sys.exit("the server closed the connection")

    def close(self) -> None:
        self._socket.close()


def measure(
    predictor: Predictor, port: int, bare: int, photo: Path, rounds: int, warm_up: int
) -> None:
    payload = photo.read_bytes()
    tensors = predictor.pipeline.prepare(payload).tensors
    client = Client(port, "/v1/predict", payload)
    nothing = Client(bare, "/", payload)
    answers: list[bytes] = []

    ways: dict[str, Callable[[], object]] = {
        "bare HTTP, no work": nothing.post,
        "engine only": lambda: predictor.engine.run(tensors),
        "in-process predict": lambda: predictor.predict(payload),
        "HTTP /v1/predict": lambda: answers.append(client.post()),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm_up + rounds):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            if number >= warm_up:
                times[name].append((time.perf_counter() - start) * 1e3)
    client.close()
    nothing.close()
    steps = [json.loads(answer)["timing_ms"] for answer in answers[warm_up:]]
    report(photo, len(payload), times, steps)


def report(
    photo: Path, size: int, times: dict[str, list[float]], steps: list[dict[str, float]]
) -> None:
    print(f"\n{photo.name}, {size / 1000:.0f} kB, {len(steps)} rounds; milliseconds")
    print(f"{'':<22}{'median':>8}{'p95':>8}")
    for name, values in times.items():
        print(f"{name:<22}{statistics.median(values):>8.2f}{p95(values):>8.2f}")
    http = times["HTTP /v1/predict"]
    pairs = zip(http, times["in-process predict"], strict=True)
    print(f"{'HTTP over in-process':<22}{statistics.median(a - b for a, b in pairs):>8.2f}")
    print("Where an HTTP request spends its time, median:")
    for step in STEPS:
        print(f"  {step:<32}{statistics.median(row[step] for row in steps):>6.2f}")
    inside = [row["total"] - sum(row[step] for step in STEPS) for row in steps]
    outside = [whole - row["total"] for whole, row in zip(http, steps, strict=True)]
    work = [sum(row[step] for step in STEPS if step != "queue") for row in steps]
    serving = [whole - part for whole, part in zip(http, work, strict=True)]
    print(f"  {'reading the body, hand-overs':<32}{statistics.median(inside):>6.2f}")
    print(f"  {'sockets and the client':<32}{statistics.median(outside):>6.2f}")
    # Within one request the machine's speed is the same: this is steadier than the pairs above.
    print(f"Everything but decode, compute, postprocess: {statistics.median(serving):.2f}\n")


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


if __name__ == "__main__":
    main()
