"""Enginecrate beside other servers: the server has one core, the load another.

    python benchmarks/serve_peers.py [--rows identity,binary] [--rounds 5] [--seconds 5] [--json]

Each peer lives in an environment of its own in `--folder`, made on the first run with pip's own
configuration, and runs in its best documented configuration for one core:

    enginecrate   one process, no log of requests
    fastapi       uvicorn, one worker, uvloop, httptools, model in the handler, orjson, no pydantic
    mosec         one worker, one request at a time
    mosec-batches one worker, batches of at most 8 that wait at most 1 ms
    pytriton      Triton's HTTP server with one thread, batches of at most 8 that wait for nothing
    granian-asgi, granian-rsgi   bare handlers that copy the data of the request: ceilings
    bare engine   onnxruntime called in a loop, without any server

The peers parse with NumPy and orjson, check nothing, and need no engine for the identity.
Enginecrate checks every request and runs the identity as a model. Every answer is compared with
the right one. In each round every peer is started anew, and the peers take turns. A figure is the
median of the rounds; a gap smaller than the larger spread of the two is a tie. What was measured
is kept: the script goes on where it was stopped. Memory: resident sets of all processes of the
server, a second after it is ready.

Prediction, written before the first run: identity over JSON at 32 clients 2 times the faster of
mosec and FastAPI; the model of 0.3 ms 1.3 times mosec; 602 KB as fast as granian's bare ASGI
handler; the CNN at 98 % of the bare engine. How it came out is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from enginecrate.bench.exchange import post
from enginecrate.bench.load import LoadPlan
from enginecrate.bench.run import measure
from enginecrate.bench.tensors import binary_payload, json_payload, tensors_differ
from enginecrate.bench.wire import Payload, parse_address
from enginecrate.errors import ServerUnreachable
from enginecrate.files.atomic import write_atomic
from machine import describe

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "fastapi": ["fastapi", "uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "numpy"],
    "mosec": ["mosec", "orjson", "onnxruntime", "numpy"],
    "pytriton": ["nvidia-pytriton", "orjson", "onnxruntime", "numpy<2", "setuptools<81"],
    "granian": ["granian", "uvloop"],
}
CEILINGS = ("granian-asgi", "granian-rsgi", "bare engine")
PEERS = ("enginecrate", "fastapi", "mosec", "mosec-batches", "pytriton", *CEILINGS)
OURS = "enginecrate"
READY_SECONDS = 90.0
PAYLOADS = 4
PHOTO = (3, 224, 224)
MANIFEST = """[app]
name = "m"
version = "1.0.0"
summary = "A model of the comparison"

[model]
path = "model.onnx"

[pipeline]
task = "tensors"

[targets]
stacks = ["ort-cpu"]
"""


@dataclass(frozen=True)
class Row:
    """One kind of load. Rows with the same `model` share a server."""

    name: str
    model: str
    binary: bool
    clients: tuple[int, ...]


ROWS = (
    Row("identity", "identity", binary=False, clients=(1, 8, 32)),
    Row("model", "perceptron", binary=False, clients=(32,)),
    Row("binary", "photo identity", binary=True, clients=(1, 8)),
    Row("cnn", "cnn", binary=True, clients=(1, 8, 32)),
)
TITLES = {
    "identity": "identity, JSON [1,16]",
    "model": "model of about 0.3 ms, JSON [1,16]",
    "binary": "identity, binary, 602 KB in and out",
    "cnn": "CNN of about 0.9 GFLOP, binary, 602 KB in",
}


class Cell(msgspec.Struct):
    """One peer with one load in one round."""

    row: str
    clients: int
    peer: str
    round: int
    rate: float
    p50: float
    p99: float
    load_busy: float = 0.0


class Begin(msgspec.Struct):
    """One start of a server."""

    peer: str
    row: str
    round: int
    ready_seconds: float
    memory_mb: float


class Book(msgspec.Struct):
    """Everything that was measured; `faults`: why a peer could not be."""

    machine: str
    seconds: float
    model_ms: float
    cells: list[Cell] = []
    begins: list[Begin] = []
    faults: dict[str, str] = {}


def main() -> None:
    options = read_options()
    options.folder.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    models = make_models(options.folder, cores[0])
    file = options.folder / "results.json"
    book = open_book(file, options, models)
    os.sched_setaffinity(0, cores[-1:])
    for number in range(options.rounds):
        for row in (row for row in ROWS if row.name in options.rows):
            for peer in (peer for peer in PEERS if peer in options.peers):
                work(book, row, peer, number, options, models, cores[0])
                write_atomic(file, msgspec.json.format(msgspec.json.encode(book), indent=1))
    if options.json:
        print(file.read_text(encoding="utf-8"))
    else:
        report(book, options.rows)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--folder", type=Path, default=Path.home() / ".cache" / "enginecrate-peers",
        help="environments, models and results; remove results.json to begin anew",
    )  # fmt: skip
    options = parser.parse_args()
    options.rows, options.peers = options.rows.split(","), options.peers.split(",")
    for given, known in ((options.rows, TITLES), (options.peers, PEERS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return options


def make_models(folder: Path, core: int) -> dict[str, Path]:
    """A project for each model; made once."""
    sys.path.insert(0, str(HERE / "peers"))
    import models

    paths = {row.model: folder / "models" / row.name / "model.onnx" for row in ROWS}
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    for name, path in paths.items():
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name("scratch.onnx")
        if name == "perceptron":
            taken = models.perceptron(scratch, 0.3)
            path.with_name("milliseconds").write_text(f"{taken:.3f}")
        elif name == "cnn":
            models.cnn(scratch)
        else:
            models.identity(scratch, PHOTO if "photo" in name else (16,))
        path.with_name("enginecrate.toml").write_text(MANIFEST)
        scratch.rename(path)
    os.sched_setaffinity(0, everything)
    return paths


def open_book(file: Path, options: argparse.Namespace, models: dict[str, Path]) -> Book:
    machine = describe("onnxruntime", "uvloop", "numpy")
    taken = float(models["perceptron"].with_name("milliseconds").read_text())
    if not file.exists():
        return Book(machine, options.seconds, taken)
    book = msgspec.json.decode(file.read_bytes(), type=Book)
    if (book.machine, book.seconds) != (machine, options.seconds):
        sys.exit(f"{file} is of another machine, other versions or other seconds; remove it")
    return book


def work(
    book: Book, row: Row, peer: str, number: int, options: argparse.Namespace,
    models: dict[str, Path], core: int,
) -> None:  # fmt: skip
    """Measure one peer with one row, unless that is done or cannot be."""
    done = {(one.row, one.clients) for one in book.cells if (one.peer, one.round) == (peer, number)}
    clients = [count for count in row.clients if (row.name, count) not in done]
    if not clients or f"{peer} {row.name}" in book.faults:
        return
    payloads = make_payloads(row)
    right = right_answers(row, models[row.model])
    if peer == "bare engine":
        if row.name == "cnn":
            rate, ms = bare_engine(models[row.model], core, options.seconds)
            book.cells += [Cell(row.name, n, peer, number, rate, ms, ms) for n in clients]
        return
    if peer.startswith("granian") and row.name not in ("identity", "binary"):
        return
    try:
        with server(peer, row, options.folder, models[row.model], core) as (port, process):
            begun = time.perf_counter()
            address = wait(port, payloads[0], process, right)
            ready = time.perf_counter() - begun
            time.sleep(1.0)
            book.begins.append(Begin(peer, row.name, number, ready, memory(process.pid)))
            for count in clients:
                plan = LoadPlan(address, payloads, count, min(2.0, options.seconds / 2),
                                options.seconds, processes=1)  # fmt: skip
                result = measure(plan, lambda name, part: tensors_differ(right[name], part))
                if not result.passed or result.latency_ms is None:
                    raise Fault(f"errors {dict(result.errors)}, wrong {result.wrong_reasons}")
                book.cells.append(
                    Cell(row.name, count, peer, number, result.throughput, result.latency_ms.p50,
                         result.latency_ms.p99, result.load_busy)
                )  # fmt: skip
                print(f"{row.name} {count} {peer} round {number + 1}: {result.throughput:,.0f}/s, "
                      f"p50 {result.latency_ms.p50:.2f}, p99 {result.latency_ms.p99:.2f} ms",
                      file=sys.stderr, flush=True)  # fmt: skip
    except Fault as fault:
        book.faults[f"{peer} {row.name}"] = str(fault)
        print(f"{row.name} {peer}: {fault}", file=sys.stderr, flush=True)


class Fault(Exception):
    """A peer cannot be measured."""


def make_payloads(row: Row) -> list[Payload]:
    shape = (1, *PHOTO) if row.binary else (1, 16)
    chance = np.random.default_rng(7)
    make = binary_payload if row.binary else json_payload
    return [make(str(n), {"x": chance.random(shape, np.float32)}) for n in range(PAYLOADS)]


def right_answers(row: Row, model: Path) -> dict[str, bytes]:
    import models

    engine = models.session(model)
    shape = (1, *PHOTO) if row.binary else (1, 16)
    chance = np.random.default_rng(7)
    answers = {}
    for number in range(PAYLOADS):
        y = engine.run(["y"], {"x": chance.random(shape, np.float32)})[0]
        output = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
        answers[str(number)] = msgspec.json.encode({"outputs": [output]})
    return answers


def bare_engine(model: Path, core: int, seconds: float) -> tuple[float, float]:
    """Runs a second and the median in ms, in a process of its own on the server's core."""
    code = (
        "import sys, time, pathlib, numpy as np, models\n"
        "engine = models.session(pathlib.Path(sys.argv[1]))\n"
        f"x = np.random.default_rng(1).random((1, *{PHOTO}), np.float32)\n"
        "for _ in range(20): engine.run(['y'], {'x': x})\n"
        "times, begin = [], time.perf_counter()\n"
        "while time.perf_counter() - begin < float(sys.argv[2]):\n"
        "    start = time.perf_counter()\n"
        "    engine.run(['y'], {'x': x})\n"
        "    times.append(time.perf_counter() - start)\n"
        "print(len(times) / (time.perf_counter() - begin), np.median(times) * 1e3)\n"
    )
    done = subprocess.run(
        ["taskset", "-c", str(core), sys.executable, "-c", code, str(model), str(seconds)],
        cwd=HERE / "peers", check=True, capture_output=True, text=True,
    )  # fmt: skip
    rate, ms = done.stdout.split()
    return float(rate), float(ms)


def environment(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made when it is not there."""
    home = folder / "environments" / peer
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"making the environment of {peer}", file=sys.stderr, flush=True)
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*command, *PACKAGES[peer]], capture_output=True, text=True)
        if done.returncode:
            raise Fault(f"cannot be installed: {done.stderr.strip()[-300:]}")
        (home / "complete").write_text("\n".join(PACKAGES[peer]))
    return python


@contextlib.contextmanager
def server(
    peer: str, row: Row, folder: Path, model: Path, core: int
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server on one core."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {**os.environ, "PEER_BINARY": "1" if row.binary else ""}
    variables["PEER_MODEL"] = "identity" if "identity" in row.model else str(model)
    if peer == OURS:
        program = "from enginecrate.cli.main import main; raise SystemExit(main())"
        command = [sys.executable, "-P", "-c", program, "serve", "--project", model.parent,
                   "--host", "127.0.0.1", "--http-port", port, "--log-level", "warning",
                   "--cache-dir", folder / "cache"]  # fmt: skip
    else:
        name, _, interface = peer.partition("-")
        python = environment(name, folder)
        command = [python, HERE / "peers" / f"{name}_server.py", port]
        command += [interface] if name == "granian" else []
        variables["PEER_BATCH"] = "8" if interface == "batches" else "1"
        if name == "pytriton":
            shapes = [",".join(map(str, PHOTO if row.binary else (16,))),
                      ",".join(map(str, PHOTO if row.name == "binary" else
                                   (1000,) if row.name == "cnn" else (16,)))]  # fmt: skip
            command += shapes
            variables |= triton_variables(python)
    with (folder / f"{peer}.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)],
            env=variables, cwd=HERE / "peers", stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield port, process
        finally:
            stop(process)


def triton_variables(python: Path) -> dict[str, str]:
    """Its libraries, that of the interpreter, and where its Python stub finds modules."""
    found = next(python.parents[1].glob("lib/python3*/site-packages"))
    libraries = [str(found / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    libraries += [str(path) for path in found.glob("nvidia/*/lib")]
    paths = [str(found), str(HERE / "peers")]
    return {"LD_LIBRARY_PATH": ":".join(libraries), "PYTHONPATH": ":".join(paths)}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with everything that it started: it leads a group of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            if number == signal.SIGTERM:
                time.sleep(0.2)


def wait(port: int, payload: Payload, process: subprocess.Popen[bytes], right: dict[str, bytes]):
    """Ask until the first answer comes, and compare it."""
    address = parse_address(f"http://127.0.0.1:{port}", "/v2/models/m/infer")
    until = time.perf_counter() + READY_SECONDS
    while True:
        with contextlib.suppress(ServerUnreachable):
            answer = post(address, payload)
            break
        if process.poll() is not None or time.perf_counter() > until:
            raise Fault("it does not become ready; its log lies in the folder")
        time.sleep(0.02)
    if reason := tensors_differ(right[payload.name], answer):
        raise Fault(f"its answer is wrong: {reason}")
    return address


def memory(root: int) -> float:
    """Resident megabytes of a process group."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if os.getpgid(int(entry.name)) == root:
                    total += int((entry / "statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(book: Book, rows: list[str]) -> None:
    print(f"{book.machine}; server on one core, load on another; {book.seconds:g} s a cell; the "
          f"model takes {book.model_ms:.2f} ms")  # fmt: skip
    for row in (row for row in ROWS if row.name in rows):
        for clients in row.clients:
            report_cells(book, row.name, clients)
    print("\nready, from the start of the process to the first answer, and memory when idle")
    for peer in PEERS:
        begins = [one for one in book.begins if one.peer == peer and one.row == "identity"]
        if begins:
            ready = [one.ready_seconds for one in begins]
            used = [one.memory_mb for one in begins]
            print(f"{peer:<15}{statistics.median(ready):>8.2f} s ({min(ready):.2f} to "
                  f"{max(ready):.2f}){statistics.median(used):>8.0f} MB")  # fmt: skip
    for peer, reason in book.faults.items():
        print(f"{peer}: not measured, {reason}")


def report_cells(book: Book, row: str, clients: int) -> None:
    cells = [one for one in book.cells if (one.row, one.clients) == (row, clients)]
    ours = [one.rate for one in cells if one.peer == OURS]
    print(f"\n{TITLES[row]}, {clients} client{'s' if clients > 1 else ''}")
    print(f"{'':<15}{'req/s':>10}{'spread':>20}{'p50 ms':>9}{'p99 ms':>9}  ours in comparison")
    for peer in PEERS:
        found = [one for one in cells if one.peer == peer]
        if not found:
            continue
        rates = [one.rate for one in found]
        p50 = statistics.median(one.p50 for one in found)
        p99 = statistics.median(one.p99 for one in found)
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        print(f"{peer:<15}{statistics.median(rates):>10,.0f}{spread:>20}{p50:>9.2f}{p99:>9.2f}  "
              f"{compared(ours, rates) if ours and peer != OURS else ''}")  # fmt: skip


def compared(ours: list[float], theirs: list[float]) -> str:
    """The ratio of the medians, or a tie."""
    gap = abs(statistics.median(ours) - statistics.median(theirs))
    spread = max(max(rates) - min(rates) for rates in (ours, theirs))
    ratio = statistics.median(ours) / statistics.median(theirs)
    if len(ours) > 1 and gap < spread:
        return f"tie ({ratio:.2f})"
    return f"{ratio:.2f}{' (one round)' if len(ours) == 1 else ''}"


if __name__ == "__main__":
    main()
