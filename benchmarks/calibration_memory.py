"""Memory and time of a calibration: they must not grow together with the number of photos.

    python benchmarks/calibration_memory.py --photos 5000 --method minmax

Makes photos of noise and gradients, calibrates the detection sample (416 x 416) with them in a
process of its own, and prints that process's peak of resident memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from machine import describe

SAMPLE = Path(__file__).parents[1] / "samples" / "detection"
LIMIT = 2 * 10**9

CHILD = """
import resource, sys
from pathlib import Path
from enginecrate.builder.quantization.calibration import obtain_table
from enginecrate.builder.project.photos import read_photos
from enginecrate.builder.project.project import open_project
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.settings import load_settings

sample, photos, cache, method = sys.argv[1:]
settings = load_settings(environment={}, flags={"cache_dir": cache})
project = open_project(Path(sample), settings)
found = read_photos(Path(photos), project.pipeline).photos
table = obtain_table(
    project, simplify(project.model).model, found, method=method, max_photos=len(found),
    settings=settings,
).table
print(table.photos, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def make_photos(folder: Path, count: int) -> None:
    """JPEGs of 640 x 480, every one different."""
    rng = np.random.default_rng(0)
    across = np.linspace(0, 1, 640)[None, :, None]
    down = np.linspace(0, 1, 480)[:, None, None]
    noise = rng.integers(-40, 40, (480, 640, 3))
    for number in range(count):
        one, two = rng.integers(0, 255, (2, 3))
        pixels = one * across + two * down + np.roll(noise, number, axis=1)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        image.save(folder / f"{number:05}.jpg", quality=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[250, 1000, 5000])
    parser.add_argument("--method", default="minmax", choices=["minmax", "entropy", "percentile"])
    arguments = parser.parse_args()
    print(describe("onnxruntime", "numpy"))
    print("| photos | method | peak memory, MB | seconds |\n|---|---|---|---|")
    for count in arguments.photos:
        with tempfile.TemporaryDirectory() as scratch:
            photos = Path(scratch) / "photos"
            photos.mkdir()
            make_photos(photos, count)
            began = time.monotonic()
            command = [sys.executable, "-c", CHILD, str(SAMPLE), str(photos), scratch]
            done = subprocess.run([*command, arguments.method], check=True, capture_output=True)
        used, peak = map(int, done.stdout.split())
        seconds = time.monotonic() - began
        print(f"| {used:,} | {arguments.method} | {peak / 1e6:,.0f} | {seconds:.0f} |", flush=True)
        if peak > LIMIT:
            sys.exit(f"more than {LIMIT / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
