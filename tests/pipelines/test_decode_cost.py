"""What a photo costs, told by its header, is at least what it takes: the table of container.md."""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enginecrate.pipelines.annotate import annotation_cost
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.cost import NO_COST, cost_of, read_facts
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.pipelines.jpeg_segments import MAX_SEGMENTS
from enginecrate.values import DataType, PipelineSpec, TensorSpec
from peak_memory import PEAK_KILOBYTES
from pictures import encoded, noise, png, png_chunk, scene

SIDE = 3000
LIMITS = Limits()
SMALL = Image.fromarray(scene())


def picture(mode: str = "RGB") -> Image.Image:
    small = np.add.outer(np.arange(SIDE), np.arange(SIDE)) // 24 % 256
    image = Image.fromarray(np.repeat(small[:, :, np.newaxis], 3, axis=2).astype(np.uint8))
    if mode == "RGBA":
        image.putalpha(128)
        return image
    return image.convert(mode)


def flat_png(depth: int, colour: int, channels: int, *before: bytes) -> bytes:
    row = bytes(1 + SIDE * channels * depth // 8)
    return png(SIDE, SIDE, row * SIDE, depth=depth, color=colour, before=before)


def animation() -> bytes:
    frames = [picture(), picture().transpose(Image.Transpose.ROTATE_90)]
    return encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], method=0)


KINDS = {
    "jpeg": lambda: encoded(picture(), "JPEG"),
    "grey jpeg": lambda: encoded(picture("L"), "JPEG"),
    "ink jpeg": lambda: encoded(picture("CMYK"), "JPEG"),
    "progressive jpeg": lambda: encoded(picture(), "JPEG", progressive=True, subsampling=0),
    "cut jpeg": lambda: encoded(picture(), "JPEG")[:-2],
    "png": lambda: flat_png(8, 2, 3),
    "png with a transparent colour": lambda: flat_png(8, 2, 3, png_chunk(b"tRNS", bytes(6))),
    "wide png": lambda: flat_png(16, 6, 4),
    "wide grey png": lambda: flat_png(16, 0, 1),
    "transparent png": lambda: encoded(picture("RGBA"), "PNG", compress_level=1),
    "palette png": lambda: flat_png(8, 3, 1, png_chunk(b"PLTE", bytes(768))),
    "grey png with alpha": lambda: flat_png(8, 4, 2),
    "webp": lambda: encoded(picture(), "WEBP", method=0),
    "transparent webp": lambda: encoded(picture("RGBA"), "WEBP", lossless=True, method=0),
    "animated webp": animation,
    "bmp": lambda: encoded(picture(), "BMP"),
    "palette bmp": lambda: encoded(picture("P"), "BMP"),
}

MEASURE = (
    PEAK_KILOBYTES
    + """
import sys
from pathlib import Path
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image import decode_image
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import DataType, PipelineSpec, TensorSpec

folder, way = Path(sys.argv[1]), sys.argv[2]
shape = TensorSpec("x", DataType.FP32, (1, 3, 320, 320))
def run(data):
    if way == "array":
        decode_image(data, "rgb", Limits())
    else:
        spec = PipelineSpec(task="detection", interpolation=way)
        ImageInput.create(spec, [shape], Limits()).prepare(data)
for small in sorted(folder.glob("small*")):
    run(small.read_bytes())  # imports, tables
data = (folder / "photo").read_bytes()
Path("/proc/self/clear_refs").write_text("5")
before = peak_kilobytes()
run(data)
print((peak_kilobytes() - before) * 1024)
"""
)


def peak(data: bytes, way: str) -> int:
    """Bytes that a decode takes in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "photo").write_bytes(data)
        for kind in ("JPEG", "PNG", "WEBP", "BMP"):
            Path(folder, f"small.{kind}").write_bytes(encoded(SMALL, kind))
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, folder, way], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def image_input(interpolation: str = "bilinear") -> ImageInput:
    spec = PipelineSpec(task="detection", interpolation=interpolation)
    return ImageInput.create(spec, [TensorSpec("x", DataType.FP32, (1, 3, 320, 320))], LIMITS)


def check(data: bytes, way: str) -> None:
    cost = cost_of(data, LIMITS) if way == "array" else image_input(way).cost(data)
    used = peak(data, way)
    assert used <= cost.bytes
    assert cost.bytes < 4 * used + 24_000_000  # a bound that says something


@pytest.mark.parametrize("kind", ["jpeg", "progressive jpeg", "transparent png", "webp"])
def test_memory_is_as_the_header_says(kind: str):
    check(KINDS[kind](), "bilinear")


@pytest.mark.full
@pytest.mark.parametrize("way", ["nearest", "bilinear", "area", "array"])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_as_the_header_says_in_every_way(kind: str, way: str):
    check(KINDS[kind](), way)


def test_what_is_refused_at_once_costs_nothing():
    whole = encoded(SMALL, "JPEG")
    for data in (b"", b"no photo", whole[:10], b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"):
        assert cost_of(data, LIMITS) == NO_COST
        assert image_input().cost(data) == annotation_cost(data, LIMITS) == NO_COST
    assert cost_of(whole, Limits(max_bytes=len(whole) - 1)) == NO_COST
    assert cost_of(whole, Limits(max_pixels=96 * 64 - 1)) == NO_COST
    assert cost_of(whole, Limits(max_pixels=96 * 64)) != NO_COST


def test_a_jpeg_is_cheaper_where_a_fraction_is_enough():
    data = encoded(picture(), "JPEG")
    whole, part = image_input("nearest").cost(data), image_input().cost(data)
    assert whole.bytes > 2 * part.bytes
    assert whole.milliseconds > part.milliseconds


def test_scans_cost_time_and_coefficients_memory():
    plain, scans = encoded(SMALL, "JPEG"), encoded(SMALL, "JPEG", progressive=True)
    start = scans.rindex(b"\xff\xda")
    many = scans[:start] + scans[start:-2] * 100 + scans[-2:]
    costs = [cost_of(data, LIMITS) for data in (plain, scans, many)]
    assert costs[0].bytes < costs[1].bytes
    assert costs[2].milliseconds > 5 * costs[1].milliseconds > 5 * costs[0].milliseconds


def test_scan_marks_in_a_baseline_picture_are_not_counted():
    """They may be in its data by chance after an escaped byte, and in what follows its end."""
    plain = encoded(SMALL, "JPEG")
    facts, more = read_facts(plain, LIMITS), read_facts(plain + b"\xff\xda" * 50, LIMITS)
    assert facts is not None
    assert more is not None
    assert facts.ns == more.ns


def test_a_frame_header_behind_hundreds_of_segments_costs_the_most():
    plain = encoded(SMALL, "JPEG")
    hidden = plain[:2] + b"\xff\xfe\0\2" * (MAX_SEGMENTS - 20) + plain[2:]
    assert image_input().prepare(hidden)[0]["x"].shape == (1, 3, 320, 320)
    assert cost_of(hidden, LIMITS).bytes > 64_000_000 * 16


def test_a_strip_is_as_costly_as_its_resize():
    """Between its two passes a resize has the new width and the old height."""
    strip = struct.pack(">IIBBBBB", 1, 60_000_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", strip) + png_chunk(b"IEND", b"")
    assert image_input().cost(data).bytes > 60_000_000 * 320 * 4


def test_the_time_of_a_large_photo_is_more():
    times = [cost_of(encoded(noise(side, side), "PNG"), LIMITS).milliseconds for side in (50, 400)]
    assert times[1] > 10 * times[0]
