"""How long an image takes to build, and how large it is.

    python benchmarks/image_build.py PROJECT

PROJECT must have a lock. Builds it three times, each in a process of its own: with no layers in the
cache, again, and after all weights of the model have changed. The project itself is not touched.
"""

from __future__ import annotations

import json
import os
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


def build(project: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    started = time.perf_counter()
    done = subprocess.run(
        [Path(sys.executable).with_name("enginecrate"), "image", "build", "--json"],
        cwd=project, env=os.environ | {"ENGINECRATE_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return seconds, json.loads(done.stdout)["images"][0]["platforms"][0]


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
    with tempfile.TemporaryDirectory() as name:
        project, cache = Path(name, "project"), Path(name, "cache")
        shutil.copytree(sys.argv[1], project, ignore=shutil.ignore_patterns("build"))
        shutil.copytree(load_settings().cache_path / "artifacts", cache / "artifacts")
        first, image = build(project, cache)
        again, same = build(project, cache)
        assert image["digest"] == same["digest"]
        change_weights(project / load_manifest(project).manifest.model.path)
        changed, new = build(project, cache)
    print("| layer | MB | unpacked MB |\n|---|---|---|")
    for layer in image["layers"]:
        row = f"{layer['bytes'] / 1e6:.1f} | {layer['unpacked_bytes'] / 1e6:.1f}"
        print(f"| {layer['title']} | {row} |")
    print(f"| together | {sum(layer['bytes'] for layer in image['layers']) / 1e6:.1f} | |")
    old = {layer["digest"] for layer in image["layers"]}
    pushed = sum(layer["bytes"] for layer in new["layers"] if layer["digest"] not in old)
    print(f"\nfirst {first:.1f} s, again {again:.1f} s, another model {changed:.1f} s")
    print(f"pushed for another model: {pushed / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
