"""What an image's layers cost: megabytes, seconds, and memory, part by part.

Run: python benchmarks/image_layers.py PROJECT [--cache DIR] [--levels 3,9,12]

PROJECT has an `enginecrate.lock` with an image for this machine; packages come from the cache, or
from the machine's sources.

Measured (AMD EPYC, 2 cores that other programs used, too; one run each unless it says otherwise;
`ort-cpu` on linux/amd64, 16 debs and 39 wheels, zstandard 0.25.0). No prediction was written down
before these runs.

  Size, zstd 9: Debian 33.7 MB -> 10.3 MB, wheels 158.3 -> 41.7, enginecrate 4.9 -> 1.1; their
  bytecode 11.0 -> 3.2, 42.1 -> 11.1, 4.4 -> 1.3.
  Levels, on 158.6 MB of wheels (an earlier selection): zstd 3 44.9 MB in 3.5 s; 9 40.7 in 10.5;
  12 40.2 in 20.7; 15 39.7 in 78.9; 19 35.8 in 157.5.
  Left out of the wheels: 87.2 of 245.5 MB.
  Memory while a layer of 700 MB is written (not by this program): zstd 9 199 MB, 12 230 MB, 15
  270 MB, gzip 42 MB; that it stays below 500 MB for 4 GB is a test.
  What bytecode saves (by hand, in podman): `enginecrate --version` 0.8, 1.0 and 1.3 s with it, 1.4,
  1.6 and 1.9 s without; a server that first simplifies its model, ready after 8 and 20 s, once
  each.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import machine
from enginecrate.image.layers.collection import collect
from enginecrate.image.layers.compression import Compression
from enginecrate.image.layers.entries import Contents, LayerRecipe
from enginecrate.image.layers.packages.debs import DebContents
from enginecrate.image.layers.packages.own_package import OwnPackage
from enginecrate.image.layers.packages.wheels import WheelContents
from enginecrate.image.layers.python.bytecode import PythonBytecode
from enginecrate.image.layers.python.interpreter import Interpreter
from enginecrate.image.layers.tar import tar_pieces, tar_size
from enginecrate.image.resolve import ArtifactCache
from enginecrate.stacks.lock import LockedImage, load_lock

PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


def find_image(project: Path) -> LockedImage:
    lock = load_lock(project)
    for image in lock.images if lock else ():
        if image.platform == PLATFORMS.get(platform.machine()) and image.debs:
            return image
    raise SystemExit(f"{project} has no lock with an image for this machine: enginecrate lock")


def measure(title: str, contents: Sequence[Contents], levels: Sequence[int]) -> None:
    start = time.perf_counter()
    entries = collect(LayerRecipe(title, tuple(contents)))
    size = tar_size(entries)
    pieces = list(tar_pieces(entries))
    row = f"{title:24} {size / 1e6:7.1f} MB in {time.perf_counter() - start:5.1f} s"
    for level in levels:
        start = time.perf_counter()
        packed = sum(map(len, Compression.here("zstd", level).pieces(pieces, size)))
        row += f" | {level:2}: {packed / 1e6:6.1f} MB {time.perf_counter() - start:5.1f} s"
    print(row, flush=True)


def print_left_out(wheels: Sequence[WheelContents]) -> None:
    saved: Counter[str] = Counter()
    for wheel in wheels:
        for _, size, reason in wheel.left_out():
            saved[reason] += size
    print(f"\nleft out of the wheels: {saved.total() / 1e6:.1f} MB")
    for reason, size in saved.most_common():
        print(f"{size / 1e6:7.1f} MB  {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--cache", type=Path, help="of packages; default: a temporary folder")
    parser.add_argument("--levels", default="3,9,12")
    arguments = parser.parse_args()
    levels = [int(level) for level in arguments.levels.split(",")]
    print(machine.describe("enginecrate", "zstandard"))
    image = find_image(arguments.project)
    with tempfile.TemporaryDirectory() as folder:
        paths = ArtifactCache(arguments.cache or Path(folder)).obtain_all(image)
        debs = [DebContents(paths[deb.sha256], deb) for deb in image.debs]
        wheels = [WheelContents(paths[wheel.sha256], wheel) for wheel in image.wheels]
        own = [OwnPackage()]
        with Interpreter(debs, image.interpreter) as interpreter:
            for title, contents in (("Debian", debs), ("wheels", wheels), ("enginecrate", own)):
                measure(title, contents, levels)
                measure(f"{title}: bytecode", [PythonBytecode(contents, interpreter)], levels)
        print_left_out(wheels)


if __name__ == "__main__":
    main()
