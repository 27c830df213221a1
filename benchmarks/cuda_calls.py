"""What a call of NVIDIA's driver costs through `enginecrate.cuda`, beside cuda-python.

Run: pip install cuda-bindings; python benchmarks/cuda_calls.py [--rounds 2000]

Prediction, written before the first run:
  1. A copy of 4 KB and the wait for it take 1 to 3 us longer than with cuda-python: ctypes converts
     each argument by itself, and the context is set before each call. Beside the 6 to 10 us of the
     work itself that is a tie of 30 %.
  2. Launching a recorded graph and waiting for it is a tie, too.
  3. Beside a thread that computes in Python, both need milliseconds: each call gives up the GIL,
     and gets it back after the switch interval (5 ms). Setting the context keeps the GIL, so both
     give it up equally often, and it stays a tie.
  4. From page-locked memory, 64 MB go to the GPU at least twice as fast as from ordinary memory;
     registered memory is as fast as memory that the driver allocated.

Outcome (NVIDIA H200, driver 580, Python 3.12, cuda-python 13; medians):
  1. Better than predicted: copying 4 KB takes 8.5 us, with cuda-python 8.0.
  2. A tie: 9.6 us against 9.4.
  3. A tie: 10.3 ms both, two switch intervals.
  4. Ordinary memory 7.2 GB/s, page-locked 55.0, registered 54.6: 7.6 times as fast.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from enginecrate.cuda.device import open_device
from enginecrate.cuda.memory import Buffer, PinnedBuffer, RegisteredMemory
from enginecrate.cuda.streams import Stream
from machine import describe

SMALL, LARGE = 4096, 64 * 2**20
Call = Callable[[], object]


def microseconds(call: Call, rounds: int) -> float:
    """The median."""
    for _ in range(min(rounds, 100)):
        call()
    walls = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls) * 1e6


class CudaPython:
    """The same calls through cuda-python's runtime module, with its checks of the status."""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self.runtime: Any = runtime
        self.stream = self.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)

    def call(self, name: str, *arguments: Any) -> Any:
        status, *results = getattr(self.runtime, name)(*arguments)
        assert status == self.runtime.cudaError_t.cudaSuccess, status
        return results[0] if results else None

    def copy_in(self, pointer: int, source: int, size: int) -> None:
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call("cudaMemcpyAsync", pointer, source, size, kind, self.stream)

    def wait(self) -> None:
        self.call("cudaStreamSynchronize", self.stream)

    def capture(self, work: Call) -> Call:
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.stream, mode)
        work()
        graph = self.call("cudaGraphInstantiate", self.call("cudaStreamEndCapture", self.stream), 0)
        return lambda: self.call("cudaGraphLaunch", graph, self.stream)


def compare(title: str, ours: Call, theirs: Call, rounds: int) -> None:
    """Blocks take turns, since clocks and caches drift."""
    found: dict[str, list[float]] = {"enginecrate.cuda": [], "cuda-python": []}
    for _ in range(5):
        found["enginecrate.cuda"].append(microseconds(ours, max(5, rounds // 5)))
        found["cuda-python"].append(microseconds(theirs, max(5, rounds // 5)))
    numbers = "".join(f"{statistics.median(times):14,.1f}" for times in found.values())
    print(f"{title:44}{numbers}", flush=True)


def calls(rounds: int) -> None:
    device = open_device(0)
    stream, target, pinned = Stream(device), Buffer(device), PinnedBuffer(device)
    target.reserve(LARGE)
    source = pinned.array((LARGE,), np.dtype(np.uint8)).ctypes.data
    other = CudaPython()

    def ours() -> None:
        stream.copy_in(target.pointer, source, SMALL)
        stream.wait()

    def theirs() -> None:
        other.copy_in(target.pointer, source, SMALL)
        other.wait()

    graph = stream.capture(lambda: stream.copy_in(target.pointer, source, SMALL))
    launch = other.capture(lambda: other.copy_in(target.pointer, source, SMALL))

    def our_graph() -> None:
        graph.launch()
        stream.wait()

    def their_graph() -> None:
        launch()
        other.wait()

    print(f"\n{'microseconds, median':44}{'enginecrate':>14}{'cuda-python':>14}")
    compare("copy 4 KB and wait", ours, theirs, rounds)
    compare("launch a graph and wait", our_graph, their_graph, rounds)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=busy)
    thread.start()
    compare("copy and wait, beside a busy thread", ours, theirs, rounds // 20)
    compare("graph and wait, beside a busy thread", our_graph, their_graph, rounds // 20)
    stop.set()
    thread.join()


def copies(rounds: int) -> None:
    device = open_device(0)
    stream, target, pinned = Stream(device), Buffer(device), PinnedBuffer(device)
    target.reserve(LARGE)
    ordinary, mapped = np.ones(LARGE, np.uint8), np.ones(LARGE, np.uint8)
    ours = pinned.array((LARGE,), np.dtype(np.uint8))
    ours[:] = 1

    def rate(source: int) -> float:
        def copy() -> None:
            stream.copy_in(target.pointer, source, LARGE)
            stream.wait()

        return LARGE / microseconds(copy, rounds) / 1e3

    with RegisteredMemory(device, mapped.ctypes.data, LARGE):
        rates = [rate(array.ctypes.data) for array in (ordinary, ours, mapped)]
    print(f"\nGB/s to the GPU, 64 MB: ordinary {rates[0]:.1f}, page-locked {rates[1]:.1f}, "
          f"registered {rates[2]:.1f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000)
    rounds = parser.parse_args().rounds
    print(describe("numpy"), open_device(0).gpu.name, sep=", ")
    calls(rounds)
    copies(max(10, rounds // 50))


if __name__ == "__main__":
    main()
