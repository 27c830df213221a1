"""Which library should decode and resize images on the hot path?

Run it with the development environment; libraries that are not installed are left out:

    python benchmarks/decode.py [--photos FOLDER] [--size 416] [--seconds 0.4]

Every row decodes one encoded image from memory and stretches it to a square, as uint8 RGB. All
rows are measured in one run, in turns, and the best turn counts, because other work on the
machine only ever adds time.

Prediction, written before the first run: every library carries libjpeg-turbo, so plain JPEG
decoding differs by less than 20 %; what decides is (a) not decoding the pixels that the resize
throws away (DCT scaling), worth 3x or more on a 12-megapixel photo, (b) the resize: Pillow's
antialiased one is about 2x slower than OpenCV's bilinear, which skips pixels and aliases. All
but Pillow's conversion to NumPy release the GIL. OpenCV is 10x larger than the rest.

How it came out, on 2 cores of an AMD EPYC (Zen 3) shared with other work, OpenCV 5.0, Pillow 13.0,
simplejpeg 1.9, size 416:

- (a) held: 12 megapixels take 166 ms with Pillow, 43 ms with DCT scaling down to twice the target,
  26 ms down to the target itself; simplejpeg 132, 40 and 25 ms; OpenCV, which cannot choose a
  target, 65 ms (aliasing) and 120 ms.
- (b) held: 640x427 takes 3.3 ms with OpenCV's aliasing filter, 4.9 ms with its area filter, 5.5 to
  6.3 ms with Pillow's antialiased one, on pixels decoded by Pillow or by simplejpeg alike.
- A second thread gives 1.7 to 1.8 times the images for JPEG with all of them; for PNG 1.75 with
  OpenCV and 1.4 with Pillow, whose reader goes back to Python between chunks: not foreseen.
- OpenCV has 160 MB installed and 61 MB compressed, 8x Pillow's 20 MB and 7 MB, half of what a
  whole image may have. simplejpeg adds 1 MB to Pillow and gains nothing that can be told from
  noise.

So it is Pillow, with DCT scaling down to twice the target and its antialiasing resize. Where
a 12-megapixel photo is the rule, scaling to the target itself would save 40 % more.

Later simplejpeg came in front of Pillow for the JPEGs that it decodes to the same bits. Prediction:
half of the decoder's time. How it came out on another AMD EPYC: 1.80 ms for 2.11 (640x427), and
13.5 for 14.0 (12 megapixels at 1/2); from the bytes to FP32 in NCHW 4.36 ms for 4.72, and 29.9 for
31.0. So the prediction was wrong: Pillow 13 asks the same library, and resizing takes 2 of 4 ms.
What stays is that it takes the GIL once for a photo and not for each 64 KiB. Writing NHWC in FP32
line by line takes 0.36 ms; channel by channel through a table it took 3.0 ms.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import platform
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from enginecrate.pipelines import decode
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import DataType, PipelineSpec, TensorSpec

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024
Pixels = np.ndarray
Decode = Callable[[bytes, int], Pixels]


@dataclass(frozen=True)
class Method:
    """One way to turn encoded bytes into `size` x `size` x 3 pixels."""

    name: str
    packages: tuple[str, ...]
    run: Decode
    only_jpeg: bool = False


@dataclass
class Row:
    """What was measured of one method on one image."""

    method: Method
    seconds: list[float] = field(default_factory=list)
    two_threads: list[float] = field(default_factory=list)
    max_difference: int = 0
    mean_difference: float = 0.0


def pillow_methods() -> Iterator[Method]:
    def plain(data: bytes, size: int) -> Pixels:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    def draft(data: bytes, size: int) -> Pixels:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (size, size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))

    def draft_double(data: bytes, size: int) -> Pixels:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (2 * size, 2 * size))
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))

    yield Method("Pillow", ("pillow",), plain)
    yield Method("Pillow, draft", ("pillow",), draft, only_jpeg=True)
    yield Method("Pillow, draft to 2x", ("pillow",), draft_double, only_jpeg=True)


def opencv_methods() -> Iterator[Method]:
    import cv2

    cv2.setNumThreads(1)  # one image, one thread: the server runs many images at once

    def decode(interpolation: int) -> Decode:
        def run(data: bytes, size: int) -> Pixels:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            return cv2.resize(pixels, (size, size), interpolation=interpolation)

        return run

    packages = ("opencv-python-headless",)
    yield Method("OpenCV, area", packages, decode(cv2.INTER_AREA))
    yield Method("OpenCV, bilinear (aliases)", packages, decode(cv2.INTER_LINEAR))


def simplejpeg_methods() -> Iterator[Method]:
    import simplejpeg

    def pillow_resize(pixels: Pixels, size: int) -> Pixels:
        image = Image.fromarray(pixels)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    def plain(data: bytes, size: int) -> Pixels:
        return pillow_resize(simplejpeg.decode_jpeg(data), size)

    def scaled(factor: int) -> Decode:
        def run(data: bytes, size: int) -> Pixels:
            least = factor * size
            pixels = simplejpeg.decode_jpeg(data, min_height=least, min_width=least)
            return pillow_resize(pixels, size)

        return run

    packages = ("simplejpeg", "pillow")
    yield Method("simplejpeg + Pillow", packages, plain, only_jpeg=True)
    yield Method("simplejpeg DCT + Pillow", packages, scaled(1), only_jpeg=True)
    yield Method("simplejpeg DCT to 2x + Pillow", packages, scaled(2), only_jpeg=True)
    try:
        import cv2
    except ImportError:
        return

    def scaled_opencv(data: bytes, size: int) -> Pixels:
        pixels = simplejpeg.decode_jpeg(data, min_height=size, min_width=size)
        return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)

    both = ("simplejpeg", "opencv-python-headless")
    yield Method("simplejpeg DCT + OpenCV area", both, scaled_opencv, only_jpeg=True)


def pipeline_methods() -> Iterator[Method]:
    """Our own way to a model's input, with the quick decoder and, as it was, with Pillow alone."""
    quick = decode.decode_turbo

    @cache
    def image_input(size: int, layout: Literal["nchw", "nhwc"]) -> ImageInput:
        shape = (1, size, size, 3) if layout == "nhwc" else (1, 3, size, size)
        spec = PipelineSpec(task="detection", layout=layout)
        return ImageInput.create(spec, [TensorSpec("x", DataType.FP32, shape)], Limits())

    def prepare(turbo: bool, layout: Literal["nchw", "nhwc"]) -> Decode:
        def run(data: bytes, size: int) -> Pixels:
            decode.decode_turbo = quick if turbo else lambda data, wanted: None
            tensor = image_input(size, layout).prepare(data)[0]["x"][0]
            return tensor if layout == "nhwc" else tensor.transpose(1, 2, 0)

        return run

    packages = ("simplejpeg", "pillow")
    for layout in ("nchw", "nhwc"):
        yield Method(f"pipeline, {layout} FP32", packages, prepare(True, layout))
        yield Method(f"pipeline, {layout}, Pillow alone", packages, prepare(False, layout))


def imagecodecs_methods() -> Iterator[Method]:
    import imagecodecs

    def run(data: bytes, size: int) -> Pixels:
        image = Image.fromarray(imagecodecs.imread(data)).convert("RGB")
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))

    yield Method("imagecodecs + Pillow", ("imagecodecs", "pillow"), run)


def pyvips_methods() -> Iterator[Method]:
    import pyvips

    def run(data: bytes, size: int) -> Pixels:
        image = pyvips.Image.thumbnail_buffer(data, size, height=size, size="force")
        return image[:3].numpy() if image.bands > 3 else image.numpy()

    yield Method("pyvips thumbnail", ("pyvips", "pyvips-binary", "cffi"), run)


FAMILIES = (
    opencv_methods,
    pillow_methods,
    simplejpeg_methods,
    pipeline_methods,
    imagecodecs_methods,
    pyvips_methods,
)


def installed_methods() -> list[Method]:
    methods: list[Method] = []
    for family in FAMILIES:
        try:
            methods += family()
        except ImportError as exc:
            print(f"left out: {exc.name} is not installed")
    return methods


def photos(folder: Path | None) -> dict[str, bytes]:
    """The photos of a folder, and a 12-megapixel JPEG made of the first JPEG."""
    sample = ROOT / "samples" / "detection"
    folders = [folder] if folder else [sample / "photos", sample / "golden"]
    files = sorted(
        (path for each in folders for path in each.iterdir() if path.suffix in {".jpg", ".png"}),
        key=lambda path: (path.suffix, path.name),
    )
    images = {path.name: path.read_bytes() for path in files}
    first = next((data for name, data in images.items() if name.endswith(".jpg")), None)
    if first is not None:
        large = Image.open(io.BytesIO(first)).convert("RGB").resize((4000, 3000))
        buffer = io.BytesIO()
        large.save(buffer, "JPEG", quality=90)
        images["12 megapixels.jpg"] = buffer.getvalue()
    return images


def measure(row: Row, data: bytes, size: int, seconds: float) -> None:
    """One turn: the median time of one call on one thread, and images/s on two threads."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        row.method.run(data, size)
        times.append(time.perf_counter() - start)
    row.seconds.append(statistics.median(times))

    count = max(2, round(seconds / row.seconds[-1]))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: None, range(2)))  # both threads are alive now
        start = time.perf_counter()
        list(pool.map(lambda _: row.method.run(data, size), range(2 * count)))
        row.two_threads.append(2 * count / (time.perf_counter() - start))


def compare(data: bytes, size: int, methods: list[Method], turns: int, seconds: float) -> list[Row]:
    rows = [Row(method) for method in methods]
    reference: Pixels | None = None
    for row in rows:
        pixels = row.method.run(data, size)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        reference = pixels if reference is None else reference
        difference = np.abs(pixels.astype(np.int16) - reference)
        row.max_difference = int(difference.max())
        row.mean_difference = float(difference.mean())
    for _ in range(turns):
        for row in rows:
            measure(row, data, size, seconds)
    return rows


def footprint(packages: tuple[str, ...]) -> tuple[float, float]:
    """Installed and compressed size of packages, in MB (10^6 bytes)."""
    installed = compressed = 0
    for package in packages:
        for file in importlib.metadata.files(package) or ():
            path = Path(str(file.locate()))
            if path.is_file() and path.suffix != ".pyc":
                content = path.read_bytes()
                installed += len(content)
                compressed += len(zlib.compress(content, 6))
    return installed / 1e6, compressed / 1e6


def machine() -> str:
    model = "unknown CPU"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    return f"{model}, {platform.platform()}, Python {platform.python_version()}"


def print_table(
    name: str, data: bytes, rows: list[Row], sizes: dict[str, tuple[float, float]]
) -> None:
    width, height = Image.open(io.BytesIO(data)).size
    print(f"\n{name}: {width}x{height}, {len(data) / 1000:.0f} kB")
    print(
        f"{'':32} {'ms':>8} {'img/s':>8} {'img/s':>8} {'gain':>6} {'differs':>8} {'differs':>8}"
        f" {'MB':>10} {'MB com-':>8}"
    )
    print(
        f"{'method':32} {'1 thr.':>8} {'1 thr.':>8} {'2 thr.':>8} {'':>6} {'max':>8} {'mean':>8}"
        f" {'installed':>10} {'pressed':>8}"
    )
    for row in rows:
        best, two = min(row.seconds), max(row.two_threads)
        installed, compressed = sizes[row.method.name]
        print(
            f"{row.method.name:32} {best * 1000:8.2f} {1 / best:8.0f} {two:8.0f}"
            f" {two * best:5.2f}x {row.max_difference:8d} {row.mean_difference:8.2f}"
            f" {installed:10.1f} {compressed:8.1f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder with .jpg and .png files")
    parser.add_argument("--size", type=int, default=416, help="target height and width")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each method and turn")
    options = parser.parse_args()

    methods = installed_methods()
    sizes = {method.name: footprint(method.packages) for method in methods}
    print(machine())
    print("'differs': grey levels from the first row, after the resize to", options.size)
    for name, data in photos(options.photos).items():
        fitting = [m for m in methods if not m.only_jpeg or data[:2] == b"\xff\xd8"]
        rows = compare(data, options.size, fitting, options.turns, options.seconds)
        print_table(name, data, rows, sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
