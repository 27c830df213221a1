"""JPEGs as phones, cameras and old tools write them. Pillow and OpenCV read the plain picture."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from enginecrate.errors import ImageFormatUnsupported, ImageUndecodable
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import MAX_SCANS, EncodedImage
from enginecrate.pipelines.image import decode_image
from enginecrate.pipelines.jpeg import pixel_segments
from enginecrate.pipelines.jpeg_segments import MAX_SEGMENTS, MAX_STRAY, segments
from pictures import encoded, noise, scene, with_orientation

LIMITS = Limits()
RGB = Image.fromarray(scene())
PLAIN = encoded(RGB, "JPEG", quality=92)
PROGRESSIVE = encoded(RGB, "JPEG", progressive=True, restart_marker_blocks=3)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def after_start(data: bytes, *parts: bytes) -> bytes:
    return data[:2] + b"".join(parts) + data[2:]


def pillow(data: bytes):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def ours(data: bytes):
    return decode_image(data, "rgb", LIMITS)


def starts(data: bytes) -> list[int]:
    """Where segments begin, all of them."""
    return [one.start for one in segments(data)]


@pytest.mark.parametrize("stray", [b"\0", b"\0" * 7, b"\xff\0\xff\0", b"\xff\xff", b"\xff\xd0x"])
@pytest.mark.parametrize("data", [PLAIN, PROGRESSIVE], ids=["baseline", "progressive"])
def test_stray_bytes_between_segments(data: bytes, stray: bytes):
    for start in starts(data):
        damaged = data[:start] + stray + data[start:]
        assert np.array_equal(ours(damaged), pillow(data)), start
        if start > 2:  # OpenCV knows a JPEG by three bytes
            theirs = cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert np.array_equal(theirs, pillow(data)), start


def test_stray_bytes_have_an_end():
    assert np.array_equal(ours(after_start(PLAIN, bytes(MAX_STRAY - 1))), pillow(PLAIN))
    with pytest.raises(ImageUndecodable, match=f"no marker within {MAX_STRAY} bytes from byte 2"):
        ours(after_start(PLAIN, bytes(MAX_STRAY)))


def test_countless_segments():
    with pytest.raises(ImageUndecodable, match=f"more than {MAX_SEGMENTS} segments"):
        ours(after_start(PLAIN, segment(0xFE, b"") * MAX_SEGMENTS))


def test_a_marker_that_nobody_knows():
    with pytest.raises(ImageUndecodable, match="the marker ff 37 at byte 2 is unknown"):
        ours(after_start(PLAIN, b"\xff\x37"))


FOLLOWERS = {
    "a film": np.random.default_rng(7).bytes(20_000_000),
    "start-of-scan markers": b"\xff\xda" * 300,
    "padding": b"\0" * 3,
    "a picture": encoded(noise(200, 300), "JPEG"),
    "a start marker": b"\xff\xd8",
}


@pytest.mark.parametrize("kind", FOLLOWERS)
def test_what_follows_the_end_is_not_looked_at(kind: str):
    assert np.array_equal(ours(PLAIN + FOLLOWERS[kind]), pillow(PLAIN))


def test_pictures_and_raw_data_within_segments():
    """A thumbnail, a thermal camera's table, a gain map's description."""
    thumbnail = segment(0xE1, b"Exif\0\0MM\0*" + PLAIN)
    thermal = segment(0xE1, b"FLIR\0\1" + b"\xff\xda\xff\xd9\xff\xd8" * 10_000) * 30
    gain_map = segment(0xE2, b"MPF\0" + b"\xff" * 90) + segment(0xE2, b"urn:iso:std:iso:ts:21496")
    data = after_start(PLAIN, thumbnail, thermal, gain_map)
    assert np.array_equal(ours(data), pillow(PLAIN))


def test_of_many_pictures_the_first():
    first, second = RGB, Image.fromarray(noise(64, 96))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(ours(data), pillow(encoded(first, "JPEG")))
    # The orientation of the second alone, as in the place that MPO has for it.
    turned = encoded(first, "JPEG") + with_orientation(second, 6, "JPEG")
    assert np.array_equal(ours(turned), pillow(encoded(first, "JPEG")))
    broken = bytearray(data)
    index = data.index(b"MPF\0")
    broken[index + 30 : index + 60] = b"\xff" * 30
    assert np.array_equal(ours(bytes(broken)), pillow(encoded(first, "JPEG")))


@pytest.mark.parametrize("tail", [0, 1])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 1}, {"progressive": True}])
def test_without_its_end_marker(options, tail: int):
    data = encoded(RGB, "JPEG", **options)
    cut = data[: -2 + tail]
    assert np.array_equal(ours(cut), pillow(data))
    assert np.array_equal(ours(cut + b"\0\0\0"), pillow(data))
    small = EncodedImage.read(cut, LIMITS).decode("RGB", (10, 10)).image
    drafted = EncodedImage.read(data, LIMITS).decode("RGB", (10, 10)).image
    assert np.array_equal(np.asarray(small), np.asarray(drafted))


def is_refused(data: bytes) -> bool:
    try:
        ours(data)
    except ImageUndecodable:
        return True
    return False


@pytest.mark.parametrize("picture", ["scene", "noise", "flat"])
@pytest.mark.parametrize(
    "options", [{}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}, {"progressive": True}]
)
def test_pixels_that_are_missing_are_noticed(options, picture: str):
    image = {
        "scene": RGB,
        "noise": Image.fromarray(noise(40, 40)),
        "flat": Image.new("RGB", (80, 60), (200, 30, 30)),
    }[picture]
    data = encoded(image, "JPEG", **options)
    cuts = range(starts(data)[-2], len(data) - 2)
    passed = [cut for cut in cuts if not is_refused(data[:cut])]
    # The last bits of a scan may be such that no pixel depends on them.
    assert all(
        cut > len(data) - 5 and np.array_equal(ours(data[:cut]), ours(data)) for cut in passed
    )


def test_a_frame_without_huffman_tables():
    """Network cameras leave out the standard tables (Motion JPEG)."""
    data = PLAIN
    for one in reversed([one for one in segments(data) if one.marker == 0xC4]):
        data = data[: one.start] + data[one.end :]
    assert len(data) < len(PLAIN) - 400
    assert np.array_equal(ours(data), pillow(PLAIN))
    assert np.array_equal(ours(data[:-2]), pillow(PLAIN))


@pytest.mark.parametrize("factor", [0x411111, 0x221111, 0x211111, 0x121111, 0x111111])
def test_subsampling_and_restarts(factor: int):
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    data = cv2.imencode(".jpg", noise(71, 53), options)[1].tobytes()
    assert np.array_equal(ours(data), pillow(data))
    assert np.array_equal(ours(data[:-2]), pillow(data))


def exif_block(tiff: bytes, orientation: int = 6, order: str = ">") -> bytes:
    entry = struct.pack(order + "IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0)
    return tiff + entry + bytes(4)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0" + exif_block(b"MM\0*"),
        b"Exif\0\0" * 2 + exif_block(b"MM\0*"),
        b"Exif\0\0" * 9 + exif_block(b"II*\0", order="<"),
        b"Exif\0\0" + exif_block(b"MM*\0"),
        b"Exif\0\0" + exif_block(b"II\0*", order="<"),
    ],
)
def test_exif_as_some_programs_write_it(block: bytes):
    assert np.array_equal(ours(after_start(PLAIN, segment(0xE1, block))), turned())


def turned():
    return np.rot90(pillow(PLAIN), -1)


def test_exif_after_other_segments_and_in_two():
    block = b"Exif\0\0" + exif_block(b"MM\0*")
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    assert np.array_equal(ours(after_start(PLAIN, xmp, segment(0xE1, block))), turned())
    parts = segment(0xE1, block[:20]), segment(0xE1, b"Exif\0\0" + block[20:])
    assert np.array_equal(ours(after_start(PLAIN, *parts)), turned())


INK = Image.fromarray(np.dstack((scene(), scene()[:, ::-1, 0] // 3)), "CMYK")


def without_adobe(data: bytes) -> bytes:
    (marker,) = (one for one in segments(data) if one.marker == 0xEE)
    return data[: marker.start] + data[marker.end :]


def test_ink_is_inverted_only_where_adobe_says_so():
    adobe = encoded(INK, "JPEG", quality=100)
    inverted = Image.fromarray(255 - np.asarray(INK), "CMYK")
    plain = without_adobe(encoded(inverted, "JPEG", quality=100))
    assert b"Adobe" in adobe
    assert b"Adobe" not in plain
    expected = np.asarray(INK.convert("RGB")).astype(int)
    assert np.abs(ours(adobe) - expected).max() < 12
    assert np.abs(ours(plain) - expected).max() < 12


def test_paper_is_white():
    paper = Image.new("CMYK", (32, 32), (0, 0, 0, 0))
    ink = Image.new("CMYK", (32, 32), (255, 255, 255, 255))
    assert (ours(encoded(paper, "JPEG")) == 255).all()
    assert (ours(without_adobe(encoded(ink, "JPEG"))) == 255).all()


@pytest.mark.parametrize(
    ("marker", "precision", "words"),
    [(0xC1, 12, "12-bit"), (0xC3, 8, "lossless"), (0xC7, 8, "hierarchical")],
)
def test_processes_that_are_not_decoded_are_named(marker: int, precision: int, words: str):
    (frame,) = (one for one in segments(PLAIN) if one.marker == 0xC0)
    data = bytearray(PLAIN)
    data[frame.start + 1], data[frame.content] = marker, precision
    with pytest.raises(ImageFormatUnsupported, match=f"^{words} JPEG images are not accepted"):
        ours(bytes(data))


def test_scans_are_counted_in_the_picture_only():
    scan = PROGRESSIVE.rindex(b"\xff\xda")
    many = PROGRESSIVE[:scan] + PROGRESSIVE[scan:-2] * (MAX_SCANS + 1) + b"\xff\xd9"
    with pytest.raises(ImageUndecodable, match=f"more than {MAX_SCANS} scans"):
        ours(many)
    with pytest.raises(ImageUndecodable, match=f"more than {MAX_SCANS} scans"):
        ours(many[:-2])


def test_headers_that_make_no_sense():
    for one in segments(PLAIN):
        if one.marker in (0xC0, 0xDA):
            short = PLAIN[: one.start] + segment(one.marker, b"") + PLAIN[one.end :]
            with pytest.raises(ImageUndecodable):
                ours(short)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_fill_bytes_before_every_marker(options):
    """A marker may have any number of them (T.81, B.1.1.2), also a restart within a scan."""
    data = encoded(RGB, "JPEG", **options)
    expected, fill = ours(data), b"\xff" * 300_000
    assert np.array_equal(ours(data[:-2] + fill + data[-2:]), expected)
    marker = data.find(b"\xff\xd3") if "restart_marker_blocks" in options else data.rindex(b"\xff")
    assert np.array_equal(ours(data[:marker] + fill + data[marker:]), expected)
    assert len(pixel_segments(data[:-2] + fill * 200 + data[-2:]).data) < len(data) + 1000
