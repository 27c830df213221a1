"""The quick decoder of JPEGs gives the pixels that Pillow gives, to the bit, or declines."""

import io
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from enginecrate.errors import PipelineError
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.decode import EncodedImage
from enginecrate.pipelines.headers import read_header
from enginecrate.pipelines.jpeg import pixel_segments
from enginecrate.pipelines.photo_decoder import Wanted, jpeg_fraction
from enginecrate.pipelines.turbo_decoder import decode_turbo
from pictures import encoded, noise, scene, with_orientation

SIZES = [(16, 1), (17, 33), (64, 48), (71, 53), (96, 64), (130, 9), (203, 150), (255, 257)]
FRACTIONS = (1, 2, 4, 8)


def drafted(data: bytes, fraction: int) -> Image.Image:
    """Pillow's pixels at a fraction, as its users ask for them."""
    image = JpegImageFile(io.BytesIO(data))
    width, height = image.size
    image.draft(None, (max(1, width // fraction), max(1, height // fraction)))
    image.load()
    return image


def check(data: bytes) -> None:
    header = read_header(data)
    for fraction in FRACTIONS:
        if min(header.width, header.height) < fraction:
            continue
        image = decode_turbo(data, Wanted(header, fraction))
        expected = drafted(data, fraction)
        assert image is not None
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert np.array_equal(np.asarray(image), np.asarray(expected)), (header, fraction)


def pictures(width: int, height: int) -> Iterator[np.ndarray]:
    yield scene(width, max(height, 2))[:height]
    yield noise(width, height, width)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", SIZES)
def test_subsampling_and_sizes(size: tuple[int, int], subsampling: str, progressive: bool):
    for quality, pixels in zip((93, 25), pictures(*size), strict=True):
        options = {"subsampling": subsampling, "progressive": progressive, "quality": quality}
        check(encoded(pixels, "JPEG", **options))


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("factor", [0x411111, 0x221111, 0x211111, 0x121111, 0x111111])
def test_restarts_and_the_factors_of_another_encoder(factor: int, progressive: int):
    for size in SIZES:
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_RST_INTERVAL, 2,
                   cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]  # fmt: skip
        check(cv2.imencode(".jpg", noise(*size), options)[1].tobytes())


@pytest.mark.parametrize(
    "options",
    [
        {"optimize": True},
        {"restart_marker_blocks": 3},
        {"restart_marker_rows": 1, "optimize": True},
        {"keep_rgb": True},
        {"qtables": [[255] * 64, [1] * 64]},
        {"quality": 100, "subsampling": 0},
        {"quality": 1},
    ],
)
def test_tables_restarts_and_colours(options: dict[str, object]):
    check(encoded(scene(203, 150), "JPEG", **options))
    check(encoded(noise(71, 53), "JPEG", **options))


@pytest.mark.parametrize("progressive", [False, True])
def test_grey(progressive: bool):
    for size in SIZES:
        picture = Image.fromarray(noise(*size)).convert("L")
        check(encoded(picture, "JPEG", progressive=progressive))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_fraction_as_a_pipeline_asks_for_them(orientation: int):
    """Through the whole way; the expected fraction is what Pillow's own `draft` chooses."""
    data = with_orientation(Image.fromarray(scene(203, 150)), orientation, "JPEG")
    for least in ((0, 0), (150, 150), (70, 60), (30, 40), (9, 9)):
        read = EncodedImage.read(data, Limits())
        stored = read.decode("RGB", least)
        plain = JpegImageFile(io.BytesIO(data))
        turned = read.orientation.oriented_size(*least)
        box = plain.draft(None, turned) if min(least) else None
        assert np.array_equal(np.asarray(stored.image), np.asarray(plain.convert("RGB")))
        assert stored.content == (box[1][2:] if box else plain.size)


def test_the_fraction_is_the_one_of_pillow():
    random = np.random.default_rng(3)
    for width, height, *least in random.integers(1, 3000, (400, 4)).tolist():
        image = JpegImageFile(io.BytesIO(encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")))
        image._size = (width, height)
        image.tile = [image.tile[0]._replace(extents=(0, 0, width, height))]
        image.draft(None, tuple(least))
        assert image.decoderconfig[0] == jpeg_fraction(width, height, tuple(least))


def test_the_pixels_are_not_copied():
    """Pillow keeps RGB in four bytes, and takes the memory that they were decoded into."""
    data = encoded(scene(), "JPEG")
    image = decode_turbo(data, Wanted(read_header(data)))
    assert image is not None
    assert image.readonly == 1
    assert image.resize((9, 9)).mode == image.copy().mode == image.mode == "RGB"


INK = Image.fromarray(noise(40, 40)).convert("CMYK")
TINY = Image.fromarray(noise(15, 15))


def cut_table() -> bytes:
    data = bytearray(encoded(scene(), "JPEG"))
    start = data.index(b"\xff\xc4")
    data[start + 10] = 255
    return bytes(data)


@pytest.mark.parametrize("data", [encoded(INK, "JPEG"), encoded(TINY, "JPEG"), cut_table()],
                         ids=["ink", "tiny", "damaged"])  # fmt: skip
def test_what_may_differ_is_declined(data: bytes):
    assert decode_turbo(data, Wanted(read_header(data))) is None


def test_of_damaged_files_pillow_decides():
    """Flipped bytes: the same pixels, or a decline; what Pillow refuses is not decoded."""
    random = np.random.default_rng(11)
    kinds = [encoded(scene(), "JPEG"), encoded(noise(64, 40), "JPEG", progressive=True),
             encoded(scene(), "JPEG", restart_marker_blocks=2)]  # fmt: skip
    declined = same = 0
    for _ in range(600):
        data = bytearray(kinds[random.integers(len(kinds))])
        end = random.choice([200, 700, len(data)])
        for position in random.integers(2, min(end, len(data)), 2):
            data[position] = random.integers(0, 256)
        try:
            picture = pixel_segments(bytes(data))
            header = read_header(picture.data)
        except PipelineError:
            continue
        if picture.other or header.width * header.height > 1_000_000:
            continue
        image = decode_turbo(picture.data, Wanted(header))
        if image is None:
            declined += 1
            continue
        same += 1
        assert np.array_equal(np.asarray(image), np.asarray(drafted(picture.data, 1)))
    assert declined > 50
    assert same > 50
