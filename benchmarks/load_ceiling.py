"""The most that one load process sends: against a bare uvloop server that parses nothing.

    python benchmarks/load_ceiling.py [--seconds 3] [--rounds 3]

The server counts the bytes of a request and writes a finished answer; it has one core and the load
another. A row tells how much of a core each took: the one near 100 % was the limit. A server that
does more than this cannot be slower because of the load tool as long as it stays below.

Prediction, written before the first run: 40,000 requests/s with bodies of 200 bytes at 32
connections, 2,500 with 602 KB at 8, the load process being the limit in both.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from enginecrate.bench.load import LoadPlan, run_load
from enginecrate.bench.wire import Payload, parse_address, request_bytes
from machine import describe

BODIES = {"200 bytes": 200, "602 KB": 602_112}
CONNECTIONS = (1, 8, 32)
SERVER = """
import asyncio, sys, uvloop
size, answer = int(sys.argv[1]), b"x" * int(sys.argv[2])
reply = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(answer) + answer

class Bare(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer, self.filled = bytearray(2**20), 0
    def connection_made(self, transport):
        self.transport = transport
    def get_buffer(self, hint):
        return self.buffer
    def buffer_updated(self, count):
        self.filled += count
        if self.filled >= size:
            self.filled -= size
            self.transport.write(reply)

async def main():
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

uvloop.run(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    print(describe("uvloop"), "; server on one core, load on another" if cores[1:] else "")
    os.sched_setaffinity(0, cores[-1:])
    print(f"{'body':<12}{'clients':>8}{'requests/s':>12}{'spread':>18}{'p50 ms':>8}"
          f"{'load':>7}{'server':>8}")  # fmt: skip
    for name, size in BODIES.items():
        for connections in CONNECTIONS:
            measure(name, size, connections, options.seconds, options.rounds, cores[0])


def measure(name: str, size: int, connections: int, seconds: float, rounds: int, core: int) -> None:
    payload = Payload(name, b"y" * size)
    found = []
    for _ in range(rounds):
        length = len(request_bytes(parse_address("http://127.0.0.1:65535", "/"), payload))
        with bare_server(length, core) as (port, processor):
            address = parse_address(f"http://127.0.0.1:{port}", "/")
            # The port's digits are part of the head.
            padded = Payload(name, payload.body + b"y" * (5 - len(str(port))))
            before = processor()
            plan = LoadPlan(address, [padded], connections, 0.5, seconds, processes=1)
            run = run_load(plan)
            share = (processor() - before) / (run.seconds + 0.5)
        if run.errors:
            sys.exit(f"errors: {dict(run.errors)}")
        found.append((run.latencies.count / run.seconds, run.latencies.percentile(50) / 1e6,
                      run.busy[0], share))  # fmt: skip
    rates = [row[0] for row in found]
    p50, load, server = (statistics.median(row[n] for row in found) for n in (1, 2, 3))
    spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
    print(f"{name:<12}{connections:>8}{statistics.median(rates):>12,.0f}{spread:>18}{p50:>8.3f}"
          f"{load:>7.0%}{server:>8.0%}", flush=True)  # fmt: skip


@contextlib.contextmanager
def bare_server(size: int, core: int) -> Iterator[tuple[int, Callable[[], float]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(size), "200"], stdout=subprocess.PIPE, text=True
    )
    os.sched_setaffinity(process.pid, {core})
    tick = os.sysconf("SC_CLK_TCK")

    def processor() -> float:
        text = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / tick

    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), processor
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    main()
