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

The outcome stands at the end of this file. Every comparison interleaves its variants round by
round, since the machine's speed drifts; numbers are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, or it is too late

import numpy as np
import onnxruntime as ort

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


def plain(loaded: ort.InferenceSession, batch: int = 1) -> Callable[[], object]:
    feed = sample(loaded, batch)
    return lambda: loaded.run(None, feed)


def bound(loaded: ort.InferenceSession, batch: int = 1, *, reuse: bool) -> Callable[[], object]:
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


def compare(
    title: str, variants: dict[str, Callable[[], object]], rounds: int, pause: float = 0.0
) -> None:
    wall: dict[str, list[float]] = {name: [] for name in variants}
    processor: dict[str, list[float]] = {name: [] for name in variants}
    for name in [name for name in variants for _ in range(3)]:
        variants[name]()
    for _ in range(rounds):
        for name, call in variants.items():
            used, start = time.process_time(), time.perf_counter()
            call()
            wall[name].append(time.perf_counter() - start)
            time.sleep(pause)
            processor[name].append(time.process_time() - used)
    print(f"\n{title}")
    for name in variants:
        middle = statistics.median(wall[name]) * 1e3
        best = min(wall[name]) * 1e3
        used = statistics.median(processor[name]) * 1e3
        print(f"  {name:24} median {middle:7.2f}   best {best:7.2f}   processor {used:7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    print(f"onnxruntime {ort.__version__}, {len(os.sched_getaffinity(0))} cores")
    for name, path in MODELS.items():
        loaded = session(path)
        for batch in (1, 8):
            variants = {
                "run": plain(loaded, batch),
                "binding": bound(loaded, batch, reuse=False),
                "binding, reused outputs": bound(loaded, batch, reuse=True),
            }
            compare(f"{name}, batch {batch}: calls", variants, max(8, rounds // batch))
        spins = {f"spin {spin}": plain(session(path, spin=spin)) for spin in (True, False)}
        compare(f"{name}: spinning, calls in a row", spins, rounds)
        for label, spin in (("spin True", True), ("spin False", False)):
            alone = {label: plain(session(path, spin=spin))}
            compare(f"{name}: spinning, 20 ms between calls", alone, rounds, pause=0.02)
        levels = {level: plain(session(path, level=level)) for level in LEVELS}
        compare(f"{name}: graph optimisation", levels, rounds)
        counts = {f"{n} threads": plain(session(path, threads=n)) for n in (1, 2, 4)}
        compare(f"{name}: threads", counts, rounds)


if __name__ == "__main__":
    main()
