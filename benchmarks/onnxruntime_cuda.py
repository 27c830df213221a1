"""How fast onnxruntime runs a ResNet-50 on an NVIDIA GPU, and which options matter.

Run: python benchmarks/onnxruntime_cuda.py [--model M.onnx] [--rounds 50]

Prediction, written before the first run through the engine (the options themselves were tried
before with a script of its own; see the numbers of PyTorch in docs/benchmarks.md):
  1. At batch 1 a CUDA graph at least halves the latency: most of it is launching kernels. At
     batch 128 it is a tie.
  2. Channels last (`prefer_nhwc`) gives FP16 at least 1.3 times the speed from batch 8 on, since
     the matrix units want it; FP32 without TF32 gains nothing.
  3. FP16 against FP32 without TF32 is at least 2.5 times as fast at batch 128; with TF32 1.4 times.
  4. Copying images from and to the host costs more than computing them from batch 32 on: device
     arrays at least double the throughput there.

Each variant runs in turn after a warm-up; the table has images per second of the median call, with
inputs and outputs on the GPU, and the last column the same call with arrays on the host.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from onnx import helper

from enginecrate.cuda.arrays import DeviceArray
from enginecrate.cuda.device import find_gpus
from enginecrate.engines.base import BuildOptions, Plan, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.engines.onnxruntime.sessions import CudaTuning
from enginecrate.graph.cast.cast import cast
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.values import Precision
from machine import describe

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "gpu")]

from resnet50 import resnet50  # noqa: E402 -- of the tests

from tiny_models import model, save, value  # noqa: E402

BATCHES = (1, 8, 32, 128)


class Variant(NamedTuple):
    """A way to run the model."""

    precision: Precision
    graph: bool
    nhwc: bool
    tf32: bool = False

    def __str__(self) -> str:
        parts = [str(self.precision) + (" (TF32)" if self.tf32 else "")]
        parts += ["CUDA graph"] * self.graph + ["NHWC"] * self.nhwc
        return ", ".join(parts)


VARIANTS = [
    *(Variant(precision, graph, nhwc)
      for precision in (Precision.FP32, Precision.FP16)
      for graph in (False, True)
      for nhwc in (False, True)),
    Variant(Precision.FP32, graph=True, nhwc=True, tf32=True),
]  # fmt: skip


def build(given: OnnxModel, precision: Precision, folder: Path) -> Plan:
    typed = given if precision is Precision.FP32 else cast(given, precision).model
    profile = {
        spec.name: tuple((batch, *spec.shape[1:]) for batch in (1, 32, max(BATCHES)))
        for spec in given.inputs
    }
    options = BuildOptions(
        stack="ort-cuda130", device="cuda", precision=precision, profiles=[profile]
    )
    built = OnnxRuntimeBackend().build(typed, options)
    path = folder / f"{precision}.onnx"
    path.write_bytes(built.data)
    return Plan(path, built.info)


def median(call: Callable[[], object], rounds: int) -> float:
    """Seconds."""
    for _ in range(3):
        call()
    walls = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls)


def on_device(
    inputs: dict[str, np.ndarray], plan: Plan
) -> Iterator[tuple[str, DeviceArray, CudaEngine]]:
    """The inputs on the GPU: left there by an engine that gives back what it takes."""
    for name, array in inputs.items():
        node = helper.make_node("Identity", ["x"], ["y"])
        shape = list(array.shape)
        copy = model([node], [value("x", shape)], [value("y", shape)])
        path = save(copy, plan.path.with_name("copy.onnx"))
        options = BuildOptions(stack="ort-cuda130", device="cuda")
        built = OnnxRuntimeBackend().build(read_model(path), options)
        engine = OnnxRuntimeBackend().load(Plan(path, built.info), RunOptions())
        assert isinstance(engine, CudaEngine)
        yield name, engine.run_on_device({"x": array})["y"], engine


def fixed(plan: Plan, batch: int) -> Plan:
    """The plan for this batch alone: channels-last data and CUDA graphs go together only so."""
    info = plan.info
    inputs, outputs = (
        tuple(msgspec.structs.replace(spec, shape=(batch, *spec.shape[1:])) for spec in specs)
        for specs in (info.inputs, info.outputs)
    )
    return Plan(
        plan.path, msgspec.structs.replace(info, inputs=inputs, outputs=outputs, max_batch=0)
    )


def measure(variant: Variant, plan: Plan, rounds: int) -> tuple[list[float], float]:
    """Images per second for each batch, and of the largest with arrays on the host."""
    run = RunOptions(cuda_graph=variant.graph, tf32=variant.tf32)
    rates, host = [], 0.0
    for batch in BATCHES:
        tuning = CudaTuning(nhwc=variant.nhwc)
        engine = OnnxRuntimeBackend().load(fixed(plan, batch), run, tuning)
        assert isinstance(engine, CudaEngine)
        rng = np.random.default_rng(batch)
        inputs = {
            spec.name: rng.standard_normal(spec.shape, dtype=np.float32) for spec in engine.inputs
        }
        left = list(on_device(inputs, plan))
        given = {name: array for name, array, _ in left}
        rates.append(batch / median(lambda e=engine, given=given: e.run_on_device(given), rounds))
        host = batch / median(lambda e=engine, inputs=inputs: e.run(inputs), max(5, rounds // 5))
        for _, _, copier in left:
            copier.close()
        engine.close()
    return rates, host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="default: a ResNet-50 with random weights")
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    gpu = find_gpus()[0]
    print(describe("numpy"), f"onnxruntime {OnnxRuntimeBackend().probe().version}", sep=", ")
    print(f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes:,} bytes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.model or save(resnet50(), folder / "resnet50.onnx")
        given = simplify(read_model(path)).model
        plans = {kind: build(given, kind, folder) for kind in (Precision.FP32, Precision.FP16)}
        heads = "".join(f"{f'batch {batch}':>12}" for batch in BATCHES)
        print(f"\n{'images/s':34}{heads}{f'{BATCHES[-1]}, host':>14}")
        for variant in VARIANTS:
            rates, host = measure(variant, plans[variant.precision], arguments.rounds)
            numbers = "".join(f"{rate:12,.0f}" for rate in rates)
            print(f"{variant!s:34}{numbers}{host:14,.0f}", flush=True)


if __name__ == "__main__":
    main()
