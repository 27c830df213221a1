"""How long an image takes to build, and how large it is.

    python benchmarks/image_build.py PROJECT

PROJECT must have a lock, and its packages must be in the cache. Builds it three times, each in a
process of its own: with no layers in the cache, again, and after all weights of the model have
changed. The project itself is not touched. Processor seconds count all cores, and say more than the
clock on a machine that does other work, too.

Prediction for the sample detector, written before processor seconds were first measured: 50, 10
and 25 of them. Measured: 62, 9 and 14.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from enginecrate.manifest import load_manifest
from enginecrate.settings import load_settings
from machine import describe


def build(project: Path, cache: Path) -> tuple[tuple[float, float], dict[str, Any]]:
    """Returns the seconds of the clock and of the processor, and what was built."""
    before, started = processor_seconds(), time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("enginecrate"), "image", "build", "--json", "--offline"],
        cwd=project, env=os.environ | {"ENGINECRATE_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - started, processor_seconds() - before
    return seconds, json.loads(done.stdout)["images"][0]["platforms"][0]


def processor_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def change_weights(path: Path) -> None:
    model = onnx.load(path)
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 100:
            noise = 1 + 1e-5 * random.standard_normal(values.shape)
            tensor.raw_data = (values * noise).astype(np.float32).tobytes()
            del tensor.float_data[:]
    onnx.save(model, path)


def main() -> None:
    print(f"{describe('zstandard', 'onnxruntime')}; {time.strftime('%Y-%m-%d')}\n")
    with tempfile.TemporaryDirectory() as name:
        project, cache = Path(name, "project"), Path(name, "cache")
        shutil.copytree(sys.argv[1], project, ignore=shutil.ignore_patterns("build"))
        shutil.copytree(load_settings().cache_path / "artifacts", cache / "artifacts")
        first, image = build(project, cache)
        again, same = build(project, cache)
        assert image["digest"] == same["digest"]
        change_weights(project / load_manifest(project).manifest.model.path)
        changed, new = build(project, cache)
    show_layers(image["layers"])
    print("\n| build | seconds | processor seconds |\n|---|---|---|")
    builds = (("first", first), ("again", again), ("another model", changed))
    for what, (clock, processor) in builds:
        print(f"| {what} | {clock:.1f} | {processor:.1f} |")
    old = {layer["digest"] for layer in image["layers"]}
    pushed = sum(layer["bytes"] for layer in new["layers"] if layer["digest"] not in old)
    print(f"\npushed for another model: {pushed / 1e6:.1f} MB")


def show_layers(layers: list[dict[str, Any]]) -> None:
    print("| layer | MB | unpacked MB |\n|---|---|---|")
    for layer in layers:
        row = f"{layer['bytes'] / 1e6:.1f} | {layer['unpacked_bytes'] / 1e6:.1f}"
        print(f"| {layer['title']} | {row} |")
    print(f"| together | {sum(layer['bytes'] for layer in layers) / 1e6:.1f} | |")


if __name__ == "__main__":
    main()
