"""Payloads that are no image, damaged or too large are refused with a sentence that helps."""

import io
import resource
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from enginecrate.errors import (
    ImageFormatUnsupported,
    ImageTooLarge,
    ImageUndecodable,
    PipelineError,
)
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import MAX_SCANS, EncodedImage
from enginecrate.pipelines.image import decode_image
from enginecrate.pipelines.png import MAX_CHUNKS
from pictures import encoded, noise, png, png_chunk, scene

LIMITS = Limits()
RGB = Image.fromarray(scene())
WHOLE = {
    "JPEG": encoded(RGB, "JPEG"),
    "JPEG progressive": encoded(RGB, "JPEG", progressive=True),
    "PNG": encoded(RGB, "PNG"),
    "WebP": encoded(RGB, "WEBP"),
    "WebP lossless": encoded(RGB, "WEBP", lossless=True),
    "BMP": encoded(RGB, "BMP"),
}


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


OTHERS = {
    "empty": (b"", "is empty"),
    "gif": (encoded(RGB, "GIF"), "a GIF image"),
    "tiff": (encoded(RGB, "TIFF"), "a TIFF image"),
    "jpeg 2000": (encoded(RGB, "JPEG2000"), "a JPEG 2000 image"),
    "ico": (encoded(RGB.resize((16, 16)), "ICO"), "a Windows icon"),
    "pnm": (encoded(RGB, "PPM"), "a PNM image"),
    "avif": (encoded(RGB, "AVIF"), "an AVIF image"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image"),
    "mp4": (b"\0\0\0\x18ftypisom\0\0\0\0", "an MP4 video"),
    "pdf": (encoded(RGB, "PDF"), "a PDF document"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "html": (b"<!DOCTYPE html><p>404", "an HTML page"),
    "xml": (b"<note/>", "an XML document"),
    "json": (b' {"image": 1}', "JSON"),
    "text": ("BMW fährt vorbei".encode(), "like text"),
    "address": (b"https://example.com/a.jpg", "send the image itself"),
    "base64": (b"/9j/4AAQSkZJRg", "base64: decode it first"),
    "data url": (b"data:image/png;base64,iVBO", "a data URL"),
    "npz": (npz(), "a ZIP archive"),
    "avi": (b"RIFF\x10\0\0\0AVI LIST", "a RIFF file that is not WebP"),
    "unknown": (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09", "begins with 01 02 03 04 05 06 07 08"),
    "a long text cut within a letter": (b"a" * 1023 + "é".encode(), "like text"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_named(kind: str):
    data, words = OTHERS[kind]
    with pytest.raises(ImageFormatUnsupported, match=words) as raised:
        decode_image(data, "rgb", LIMITS)
    assert "JPEG, PNG, WebP and BMP are accepted" in str(raised.value)


@pytest.mark.parametrize("kind", WHOLE)
def test_every_truncation_is_an_error(kind: str):
    data = WHOLE[kind]
    # Only a JPEG's end marker may be missing: test_image_jpeg.py.
    last = len(data) - (3 if kind.startswith("JPEG") else 1)
    for cut in {*range(min(last, 400)), *range(400, last, 37), last}:
        # Without its magic bytes it is not even recognised.
        expected = ImageUndecodable if cut >= 18 else (ImageUndecodable, ImageFormatUnsupported)
        with pytest.raises(expected):
            decode_image(data[:cut], "rgb", LIMITS)


@pytest.mark.parametrize("kind", WHOLE)
def test_flipped_bytes_raise_our_errors_only(kind: str):
    random = np.random.default_rng(7)
    refused = 0
    for _ in range(300):
        data = bytearray(WHOLE[kind])
        end = random.choice([40, 200, len(data)])
        for position in random.integers(2, min(end, len(data)), 3):
            data[position] = random.integers(0, 256)
        try:
            decode_image(bytes(data), "rgb", Limits(max_pixels=1_000_000))
        except PipelineError:
            refused += 1
    assert refused > 10


def test_every_byte_of_a_png_is_protected():
    data = bytearray(WHOLE["PNG"])
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageUndecodable, match="checksum of its IDAT chunk"):
        decode_image(bytes(data), "rgb", LIMITS)


TEXTS = {
    b"tEXt": b"a\0b",
    b"zTXt": b"a\0\0" + zlib.compress(b"b"),
    b"iTXt": b"a\0\0\0\0\0b",
    b"iCCP": b"a\0\0" + zlib.compress(b"b"),
    b"eXIf": b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
    b"gAMA": struct.pack(">I", 1),
    b"pHYs": struct.pack(">IIB", 1, 9, 1),
    b"tRNS": bytes(6),
    b"acTL": struct.pack(">II", 2, 0),
    b"fcTL": struct.pack(">IIIIIHHBB", 0, 8, 4, 0, 0, 1, 1, 0, 0),
    b"fdAT": struct.pack(">I", 1),
    b"quIx": b"private",
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_wrong_checksum_counts_only_where_pixels_are_made(kind: bytes):
    chunk = png_chunk(kind, TEXTS[kind])
    chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
    rows = b"".join(b"\0" + row.tobytes() for row in scene(8, 4))
    for where in ({"before": [chunk]}, {"after": [chunk]}):
        assert np.array_equal(decode_image(png(8, 4, rows, **where), "rgb", LIMITS), scene(8, 4))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT", b"IEND"])
def test_a_wrong_checksum_of_a_critical_chunk(kind: bytes):
    data = bytearray(encoded(RGB.convert("P"), "PNG"))
    start = data.index(kind)
    (length,) = struct.unpack_from(">I", data, start - 4)
    data[start + 4 + length] ^= 1
    with pytest.raises(ImageUndecodable, match=f"checksum of its {kind.decode()} chunk"):
        decode_image(bytes(data), "rgb", LIMITS)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose rows are all there: 1000 times smaller than its pixels."""
    compressor = zlib.compressobj(1)
    row = bytes(1 + 3 * width)
    packed = b"".join(compressor.compress(row) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", packed),
            png_chunk(b"IEND", b""),
        )
    )


def test_a_zip_bomb_is_refused_before_it_is_decoded():
    data = png(30_000, 30_000, b"\0" * 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageTooLarge, match=r"30000x30000 pixels \(900,000,000 in all\)"):
        decode_image(data, "rgb", LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def vp8x(width: int, height: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0"
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_header(width: int, height: int) -> bytes:
    return b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" * 10


def bmp_header(width: int, height: int, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHI", 40, width, height, 1, 24, compression)
    return b"BM" + bytes(12) + info + bytes(20)


@pytest.mark.parametrize(
    "data",
    [vp8x(16_000, 16_000), jpeg_header(65_000, 65_000), bmp_header(20_000, -20_000)],
    ids=["webp", "jpeg", "bmp"],
)
def test_pixels_are_limited_by_the_header_alone(data: bytes):
    with pytest.raises(ImageTooLarge, match="max_image_pixels"):
        decode_image(data, "rgb", LIMITS)


def test_limits_are_exact():
    pixels = 96 * 64
    decode_image(WHOLE["PNG"], "rgb", Limits(max_pixels=pixels, max_bytes=len(WHOLE["PNG"])))
    with pytest.raises(ImageTooLarge, match="limit of 6,143 pixels"):
        decode_image(WHOLE["PNG"], "rgb", Limits(max_pixels=pixels - 1))
    with pytest.raises(ImageTooLarge, match="bytes; the limit is"):
        decode_image(WHOLE["PNG"], "rgb", Limits(max_bytes=len(WHOLE["PNG"]) - 1))


def test_the_limit_is_ours_and_not_pillows():
    large = png(20_000, 10_000, b"\0")  # over twice Pillow's own limit
    assert EncodedImage.read(large, Limits(max_pixels=200_000_000)).size == (20_000, 10_000)


@pytest.mark.parametrize("data", [jpeg_header(0, 5), bmp_header(0, 5), png(5, 0, b"")])
def test_no_pixels_at_all(data: bytes):
    with pytest.raises(ImageUndecodable, match="its header says"):
        decode_image(data, "rgb", LIMITS)


def test_texts_and_profiles_in_a_png_cost_nothing():
    packed = zlib.compress(bytes(100_000_000), 9)  # 100 kB for 100 MB
    hidden = [
        png_chunk(b"zTXt", b"a\0\0" + packed),
        png_chunk(b"iTXt", b"b\0\x01\0\0\0" + packed),
        png_chunk(b"iCCP", b"c\0\0" + packed),
        *(png_chunk(b"zTXt", b"d%d\0\0" % n + zlib.compress(bytes(900_000))) for n in range(80)),
    ]
    rows = b"".join(b"\0" + row.tobytes() for row in scene(8, 4))
    data = png(8, 4, rows, before=hidden, after=hidden)
    tracemalloc.start()
    pixels = decode_image(data, "rgb", LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(pixels, scene(8, 4))
    assert peak < 3_000_000


def test_a_png_of_countless_chunks():
    data = png(1, 1, b"\0\0\0\0", before=[png_chunk(b"teXt", b"")] * MAX_CHUNKS)
    with pytest.raises(ImageUndecodable, match=f"more than {MAX_CHUNKS} chunks"):
        decode_image(data, "rgb", LIMITS)


def test_a_png_with_a_second_header():
    rows = b"\0" * 13 * 4
    second = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0))
    with pytest.raises(ImageUndecodable, match="two different sizes"):
        decode_image(png(4, 4, rows, before=[second]), "rgb", LIMITS)


def test_a_jpeg_of_countless_scans():
    data = WHOLE["JPEG progressive"]
    scan = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    many = data[:end] + data[scan:end] * (MAX_SCANS + 1) + data[end:]
    with pytest.raises(ImageUndecodable, match=f"more than {MAX_SCANS} scans"):
        decode_image(many, "rgb", LIMITS)


def test_run_length_bmp_is_refused():
    with pytest.raises(ImageFormatUnsupported, match="run-length"):
        decode_image(bmp_header(100, 100, compression=1), "rgb", LIMITS)


def test_a_bomb_within_the_limit_is_an_image():
    pixels = decode_image(bomb(2000, 1000), "gray", LIMITS)
    assert pixels.shape == (1000, 2000, 1)
    assert not pixels.any()


def test_a_zip_that_begins_like_nothing_else():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", noise(4, 4).tobytes())
    with pytest.raises(ImageFormatUnsupported, match="a ZIP archive"):
        decode_image(buffer.getvalue(), "rgb", LIMITS)
