"""A server at 80 % of what it can do, with 10 % malformed requests: what is lost, wrong or kept?

First the clients send as fast as they are answered, which gives the rate; then each keeps to its
share of 80 % of it. Each photo's answer is compared with the first one for it. Of each process that
lives all the time, memory and descriptors of the last tenth are compared with those of the
first tenth; after the load no lease may be left, and SIGTERM must end the server.

Ends with 1 when something is not as it must be. Prediction, written before the first run: nothing
is lost or wrong, and memory grows by less than 5 %, both with one process and with front ends.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from machine import describe

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("enginecrate")
SHARE = 0.8
MALFORMED = 0.1
MEMORY_GROWTH = 1.05
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--frontends", default="0", help="as the setting; 0: one process")
    parser.add_argument("--project", type=Path, default=ROOT / "samples" / "detection")
    options = parser.parse_args()
    print(describe("numpy", "onnxruntime", "uvloop"))
    photos = [path.read_bytes() for path in sorted((options.project / "golden").iterdir())
              if path.suffix in (".png", ".jpg")]  # fmt: skip
    with tempfile.TemporaryDirectory() as cache:
        with server(options.project, cache, options.frontends) as (process, port):
            faults = soak(process.pid, port, photos, options.clients, options.seconds)
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            seconds = time.monotonic() - begin
        print(f"SIGTERM: exit code {code} after {seconds:.2f} s")
        faults += [f"exit code {code}"] if code else []
        faults += [f"the end took {seconds:.1f} s"] if seconds > 5 else []
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "nothing lost, nothing wrong")
    sys.exit(bool(faults))


@contextlib.contextmanager
def server(project: Path, cache: str, front_ends: str) -> Iterator[tuple[subprocess.Popen, int]]:
    command = [PROGRAM, "serve", "--project", project, "--http-port", "0", "--log-format", "json",
               "--cache-dir", cache, "--frontends", front_ends]  # fmt: skip
    log = Path(cache, "log")
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        yield process, wait_until_ready(process, log)
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process: subprocess.Popen, log: Path) -> int:
    while process.poll() is None:
        time.sleep(0.1)
        port = re.search(r'"port":(\d+)', log.read_text())
        if port is None:
            continue
        health = json.loads(ask(int(port[1]), "GET", "/v2/health/ready")[1])
        count = health.get("front_ends", {"open": 0, "wanted": 0})
        if health["ready"] and count["open"] == count["wanted"]:
            return int(port[1])
    raise SystemExit(log.read_text())


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def soak(pid: int, port: int, photos: list[bytes], clients: int, seconds: float) -> list[str]:
    expected = [results(ask(port, "POST", "/v1/predict", photo)[1]) for photo in photos]
    warm_up = Load(port, photos, expected)
    rate = warm_up.run(clients, min(10.0, seconds / 2), math.inf)
    load = Load(port, photos, expected)
    watch = Watch(pid)
    with watch:
        kept = load.run(clients, seconds, SHARE * rate)
    print(f"{rate:.1f} requests/s at most; {kept:.1f} for {seconds:.0f} s: {dict(load.counts)}")
    faults = [*warm_up.faults, *load.faults, *watch.compare()]
    time.sleep(1)
    for line in ask(port, "GET", "/metrics")[1].decode().splitlines():
        if line.startswith("enginecrate_arena_leases{") and not line.endswith(" 0.0"):
            faults.append(f"after the load: {line}")
    return faults


def results(answer: bytes) -> Any:
    return json.loads(answer)["results"]


def same(one: Any, other: Any) -> bool:
    """Equal but for what another batch changes in the last digits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-2)
    return bool(one == other)


@dataclass
class Load:
    """Clients with a connection each. `counts`: answers by kind and status."""

    port: int
    photos: list[bytes]
    expected: list[Any]
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, clients: int, seconds: float, rate: float) -> float:
        """Send for so long, at most at this rate. Returns the requests a second."""
        before = self.counts.total()
        begin = time.monotonic()
        threads = [
            threading.Thread(target=self.send, args=[number, begin + seconds, clients / rate])
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (self.counts.total() - before) / (time.monotonic() - begin)

    def send(self, number: int, until: float, pause: float) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        due = time.monotonic() + pause * chance.random()
        while (now := time.monotonic()) < until:
            time.sleep(max(0.0, due - now))
            due = max(due + pause, time.monotonic() - pause)
            if chance.random() < MALFORMED:
                self.malformed(chance, connection)
            else:
                self.photo(chance.randrange(len(self.photos)), connection)
        connection.close()

    def photo(self, number: int, connection: http.client.HTTPConnection) -> None:
        try:
            connection.request("POST", "/v1/predict", self.photos[number])
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self.note("photo", 0, f"a photo was lost: {exc!r}")
            connection.close()
            return
        fault = ""
        if answer.status != 200:
            fault = f"a photo was answered with {answer.status}: {body[:200]!r}"
        elif not same(results(body), self.expected[number]):
            fault = f"photo {number} was answered with {body[:300]!r}"
        self.note("photo", answer.status, fault)

    def malformed(self, chance: random.Random, connection: http.client.HTTPConnection) -> None:
        photo = chance.choice(self.photos)
        kind = chance.randrange(6)
        if kind == 0:
            self.leave(photo[: len(photo) // 2])
            return
        if kind == 1:
            self.leave(b"")
            return
        start = chance.randrange(len(photo) // 2)
        body = (b"", b"no photo", photo[:start], chance.randbytes(1000))[kind - 2]
        path = "/v1/predict" if chance.random() < 0.7 else "/v2/models/none/infer"
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self.note("malformed", 0, f"no answer to a malformed request: {exc!r}")
            connection.close()
            return
        fault = "" if 400 <= answer.status < 500 else f"{answer.status} to a malformed request"
        self.note("malformed", answer.status, fault)

    def leave(self, part: bytes) -> None:
        """Begin a request and go."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            head = (
                f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {2 * len(part) + 9}\r\n"
            )
            connection.sendall(head.encode() + (b"\r\n" + part if part else b"X-Half: "))
        self.note("left", 0, "")

    def note(self, kind: str, status: int, fault: str) -> None:
        with self.lock:
            self.counts[kind, status] += 1
            if fault:
                self.faults.append(fault)


class Watch:
    """Memory and descriptors of every process of the server, twice a second."""

    def __init__(self, pid: int) -> None:
        self.readings: list[dict[int, tuple[int, int]]] = []
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            reading = {}
            for process in [self._root, *self._root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    memory = process.memory_info()
                    reading[process.pid] = (memory.rss, process.num_fds())
            self.readings.append(reading)

    def compare(self) -> list[str]:
        """Print what each process had, and tell what has grown."""
        tenth = max(1, len(self.readings) // 10)
        # The load begins with memory that is touched for the first time.
        first, last = self.readings[tenth : 2 * tenth], self.readings[-tenth:]
        faults = []
        lasting = set.intersection(*(set(each) for each in (*first, *last)))
        for pid in sorted(lasting):
            before, after = (
                [statistics.median(reading[pid][place] for reading in readings) for place in (0, 1)]
                for readings in (first, last)
            )
            print(f"process {pid}: {before[0] / MIB:.1f} -> {after[0] / MIB:.1f} MiB, "
                  f"{before[1]:.0f} -> {after[1]:.0f} descriptors")  # fmt: skip
            if after[0] > before[0] * MEMORY_GROWTH:
                faults.append(f"process {pid} has grown from {before[0]} to {after[0]} bytes")
            if after[1] > before[1] + 2:
                faults.append(f"process {pid} had {before[1]} descriptors, and has {after[1]}")
        return faults


if __name__ == "__main__":
    main()
