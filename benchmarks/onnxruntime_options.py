"""Which options of onnxruntime help on the CPU, measured on the sample models.

Run: python benchmarks/onnxruntime_options.py [--rounds 40]

Prediction, written before the first run:
  1. `run` and I/O binding are a tie at batch 1: outputs are small beside the computation, and
     on the CPU nothing is copied to a device. With output buffers that are reused, binding may
     save the allocation of large outputs: at most 2 % on the detector.
  2. Spinning threads (onnxruntime's default) lower the latency of one client that calls in a
     row by some percent, but cost processor time that a server needs for decoding: with a pause
     of 20 ms between calls, process time per call is at least 1.5 times that without spinning.
  3. Graph optimisation `all` beats `disabled` by at least 1.3, mostly by fusing activations and
     by the blocked layout of convolutions; `extended` lies between them.
  4. Two threads on two cores give 1.6 to 1.9 times the speed of one.

Only one session is alive at a time: the threads of a second one would spin beside the first and
spoil its numbers (they did, in the first run of this file). Variants take turns block by block,
since the machine's speed drifts; numbers are in milliseconds for one call.

Outcome (AMD EPYC, 2 cores, Python 3.11.7, onnxruntime 1.32.0; medians):
  1. Right: `run`, binding, and binding with reused outputs take 29.9, 30.6 and 30.9 ms for the
     detector and 10.4, 10.5 and 10.2 ms for the classifier; at batch 8 they tie, too. The engine
     uses plain `run`, which is the simplest and gives each caller arrays of its own.
  2. Right, and more: alone, spinning is faster (detector 29.8 against 32.5 ms, classifier 9.2
     against 12.3), but with pauses it costs 1.3 and 2.0 times the processor time, and beside a
     thread that decodes photos it is slower (66.9 against 53.8 ms, 18.5 against 14.5) while
     fewer photos are decoded (232 against 266 a second). A server decodes: the engine does not
     spin unless `RunOptions.spin` says so.
  3. Right for `all` (detector 1.5, classifier 3.0 times as fast as `disabled`); wrong for
     `extended`, which ties with `disabled`: the gain is the blocked layout, not the fusions.
  4. Right (1.6 and 1.9). Four threads on two cores are 2.5 to 3.3 times slower than two, which
     is why the number of threads follows the cores and the CPU quota of this very process.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it is too late

import numpy as np
import onnxruntime as ort
from PIL import Image

from machine import describe

SAMPLES = Path(__file__).parent.parent / "samples"
MODELS = {
    "detector": SAMPLES / "detection/models/nanodet-g-416.onnx",
    "classifier": SAMPLES / "classification/models/efficientnet-lite0-224.onnx",
}
LEVELS = {
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
BLOCKS = 5
Call = Callable[[], object]


def session(
    path: Path, *, threads: int = 2, spin: bool = True, level: str = "all"
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = LEVELS[level]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def sample(loaded: ort.InferenceSession, batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        entry.name: rng.standard_normal((batch, *entry.shape[1:]), dtype=np.float32)
        for entry in loaded.get_inputs()
    }


def plain(loaded: ort.InferenceSession, batch: int = 1) -> Call:
    feed = sample(loaded, batch)
    return lambda: loaded.run(None, feed)


def bound(loaded: ort.InferenceSession, batch: int = 1, *, reuse: bool) -> Call:
    feed = sample(loaded, batch)
    shapes = [(entry.name, (batch, *entry.shape[1:])) for entry in loaded.get_outputs()]
    buffers = {name: np.empty(shape, np.float32) for name, shape in shapes}

    def call() -> object:
        binding = loaded.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        for name, shape in shapes:
            if reuse:
                into = buffers[name].ctypes.data
                binding.bind_output(name, "cpu", 0, np.float32, shape, into)
            else:
                binding.bind_output(name, "cpu")
        loaded.run_with_iobinding(binding)
        return buffers if reuse else binding.copy_outputs_to_cpu()

    return call


def measure(call: Call, rounds: int, pause: float) -> tuple[list[float], float]:
    """Seconds of each call, and processor seconds for each, pauses included."""
    for _ in range(3):
        call()
    used, walls = time.process_time(), []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        walls.append(time.perf_counter() - start)
        time.sleep(pause)
    return walls, (time.process_time() - used) / rounds


def compare(
    title: str, variants: dict[str, Callable[[], Call]], rounds: int, pause: float = 0.0
) -> None:
    walls: dict[str, list[float]] = {name: [] for name in variants}
    used: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(BLOCKS):
        for name, make in variants.items():
            times, processor = measure(make(), max(2, rounds // BLOCKS), pause)
            walls[name] += times
            used[name].append(processor)
            gc.collect()
    print(f"\n{title}")
    for name in variants:
        middle, best = statistics.median(walls[name]) * 1e3, min(walls[name]) * 1e3
        processor = statistics.median(used[name]) * 1e3
        print(f"  {name:24} median {middle:7.2f}   best {best:7.2f}   processor {processor:7.2f}")


def beside_decoder(name: str, path: Path, rounds: int) -> None:
    """Engine calls in a row while another thread decodes photos, as under load in the server."""
    photo = (SAMPLES / "classification/photos/flower.jpg").read_bytes()
    print(f"\n{name}: beside a thread that decodes photos")
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for spin in [True, False] * BLOCKS:
        stop, decoded = threading.Event(), [0]

        def decode(stop: threading.Event = stop, decoded: list[int] = decoded) -> None:
            while not stop.is_set():
                Image.open(io.BytesIO(photo)).convert("RGB")
                decoded[0] += 1

        call = plain(session(path, spin=spin))
        thread = threading.Thread(target=decode)
        thread.start()
        start = time.perf_counter()
        walls, _ = measure(call, max(3, rounds // BLOCKS), 0.0)
        stop.set()
        thread.join()
        photos = decoded[0] / (time.perf_counter() - start)
        found[spin].append((statistics.median(walls) * 1e3, photos))
    for spin, pairs in found.items():
        wall, photos = (statistics.median(column) for column in zip(*pairs, strict=True))
        label = "spinning" if spin else "not spinning"
        print(f"  {label:24} median {wall:7.2f}   photos decoded a second {photos:5.1f}")


def compare_model(name: str, path: Path, rounds: int) -> None:
    for batch in (1, 8):
        calls: dict[str, Callable[[], Call]] = {
            "run": lambda n=batch: plain(session(path), n),
            "binding": lambda n=batch: bound(session(path), n, reuse=False),
            "binding, reused outputs": lambda n=batch: bound(session(path), n, reuse=True),
        }
        compare(f"{name}, batch {batch}: calls", calls, max(9, rounds // batch))
    spins = {
        "spinning": lambda: plain(session(path)),
        "not spinning": lambda: plain(session(path, spin=False)),
    }
    compare(f"{name}: calls in a row", spins, rounds)
    compare(f"{name}: 20 ms between calls", spins, rounds, pause=0.02)
    beside_decoder(name, path, rounds)
    levels = {level: lambda at=level: plain(session(path, level=at)) for level in LEVELS}
    compare(f"{name}: graph optimisation", levels, rounds)
    counts = {f"{n} threads": lambda n=n: plain(session(path, threads=n)) for n in (1, 2, 4)}
    compare(f"{name}: threads", counts, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=45)
    rounds = parser.parse_args().rounds
    print(describe("onnxruntime"))
    for name, path in MODELS.items():
        compare_model(name, path, rounds)


if __name__ == "__main__":
    main()
