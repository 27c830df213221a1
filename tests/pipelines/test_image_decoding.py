"""Every kind of picture against OpenCV, which decodes on its own."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image import decode_image
from pictures import encoded, noise, png, png_chunk, scene, with_orientation

LIMITS = Limits()
RGB = Image.fromarray(scene())
GRAY = RGB.convert("L")


def opencv(data: bytes, flags: int = cv2.IMREAD_COLOR_RGB):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


KINDS = {
    "jpeg": encoded(RGB, "JPEG"),
    "jpeg-444": encoded(RGB, "JPEG", subsampling=0),
    "jpeg-progressive": encoded(RGB, "JPEG", progressive=True),
    "jpeg-grey": encoded(GRAY, "JPEG"),
    "jpeg-cmyk": encoded(RGB.convert("CMYK"), "JPEG"),
    "png": encoded(RGB, "PNG"),
    "png-grey": encoded(GRAY, "PNG"),
    "png-palette": encoded(RGB.convert("P"), "PNG"),
    "png-1-bit": encoded(RGB.convert("1"), "PNG"),
    "png-opaque-alpha": encoded(RGB.convert("RGBA"), "PNG"),
    "webp-lossy": encoded(RGB, "WEBP"),
    "webp-lossless": encoded(RGB, "WEBP", lossless=True),
    "bmp": encoded(RGB, "BMP"),
    "bmp-grey": encoded(GRAY, "BMP"),
    "bmp-palette": encoded(RGB.convert("P"), "BMP"),
    "bmp-1-bit": encoded(RGB.convert("1"), "BMP"),
    "bmp-32-bit": encoded(RGB.convert("RGBA"), "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_opencv(kind: str):
    ours = decode_image(KINDS[kind], "rgb", LIMITS)
    theirs = opencv(KINDS[kind])
    assert ours.dtype == np.uint8
    assert ours.flags.c_contiguous
    assert ours.flags.writeable
    # The two round the ink of CMYK in another way; all else is equal to the bit.
    assert np.abs(ours.astype(int) - theirs).max() <= (1 if kind == "jpeg-cmyk" else 0)


def test_ycck_jpeg():
    # OpenCV's encoder makes no YCCK, so a CMYK file is relabelled: the marker alone decides.
    cmyk = bytearray(encoded(RGB.convert("CMYK"), "JPEG"))
    marker = cmyk.index(b"Adobe")
    cmyk[marker + 11] = 2
    ours = decode_image(bytes(cmyk), "rgb", LIMITS).astype(int)
    assert np.abs(ours - opencv(bytes(cmyk))).max() <= 2


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_colors(color):
    data = KINDS["png"]
    ours = decode_image(data, color, LIMITS)
    flags = {
        "rgb": cv2.IMREAD_COLOR_RGB,
        "bgr": cv2.IMREAD_COLOR,
        "gray": cv2.IMREAD_GRAYSCALE,
    }
    theirs = opencv(data, flags[color]).reshape(ours.shape)
    assert ours.shape == (64, 96, 1 if color == "gray" else 3)
    assert np.abs(ours.astype(int) - theirs).max() <= (1 if color == "gray" else 0)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(image_format: str, orientation: int):
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = with_orientation(RGB, orientation, image_format, **options)
    stored = opencv(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    ours = decode_image(data, "rgb", LIMITS)
    assert np.array_equal(ours, upright)
    if image_format == "JPEG":  # OpenCV orients JPEGs itself: a third opinion
        assert np.array_equal(ours, opencv(data))


def test_orientation_in_a_png_after_its_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    rows = b"".join(b"\0" + row.tobytes() for row in scene(8, 4))
    data = png(8, 4, rows, after=[png_chunk(b"eXIf", block)])
    assert np.array_equal(decode_image(data, "rgb", LIMITS), np.rot90(scene(8, 4), -1))


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"x" * 40])
def test_a_damaged_exif_block_is_upright(block: bytes):
    data = encoded(RGB, "JPEG", exif=block)
    assert np.array_equal(decode_image(data, "rgb", LIMITS), opencv(data))


def test_16_bit_grey_is_scaled():
    values = np.linspace(0, 65535, 96 * 64).reshape(64, 96).round().astype(np.uint16)
    data = cv2.imencode(".png", values)[1].tobytes()
    nearest = np.rint(values / 257)[:, :, np.newaxis]
    assert np.array_equal(decode_image(data, "gray", LIMITS), nearest)
    assert np.array_equal(decode_image(data, "rgb", LIMITS), nearest.repeat(3, axis=2))


def test_16_bit_color_is_scaled():
    values = np.random.default_rng(1).integers(0, 65536, (40, 30, 3), dtype=np.uint16)
    data = cv2.imencode(".png", values[:, :, ::-1])[1].tobytes()
    ours = decode_image(data, "rgb", LIMITS)
    # Pillow takes the high byte: at most one level from the nearest.
    assert np.abs(ours - values / 257).max() <= 1


def half_transparent(mode: str) -> Image.Image:
    image = RGB.convert("RGBA")
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, 32:64], alpha[:, 64:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_transparency_is_laid_on_white(image_format: str):
    options = {"lossless": True, "exact": True} if image_format == "WEBP" else {}
    ours = decode_image(encoded(half_transparent("RGBA"), image_format, **options), "rgb", LIMITS)
    color = scene().astype(float)
    assert (ours[:, :32] == 255).all()
    mixed = color[:, 32:64] * 128 / 255 + 255 * 127 / 255
    assert np.abs(ours[:, 32:64] - mixed).max() <= 1
    assert np.array_equal(ours[:, 64:], scene()[:, 64:])


def test_transparent_grey_and_palette_are_laid_on_white():
    grey = decode_image(encoded(half_transparent("LA"), "PNG"), "gray", LIMITS)
    assert (grey[:, :32] == 255).all()
    palette = RGB.convert("P")
    hidden = palette.getpixel((0, 0))
    data = encoded(palette, "PNG", transparency=hidden)
    ours = decode_image(data, "rgb", LIMITS)
    mask = np.asarray(palette) == hidden
    assert (ours[mask] == 255).all()
    assert np.array_equal(ours[~mask], opencv(data)[~mask])


def test_an_alpha_channel_that_hides_everything_is_dropped():
    image = RGB.convert("RGBA")
    image.putalpha(0)
    assert np.array_equal(decode_image(encoded(image, "PNG"), "rgb", LIMITS), scene())


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame(image_format: str):
    frames = [Image.fromarray(noise(40, 30, seed)) for seed in range(3)]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(decode_image(data, "rgb", LIMITS), noise(40, 30, 0))


def test_top_down_bmp():
    top_down = bytearray(encoded(RGB, "BMP"))
    top_down[22:26] = (-64).to_bytes(4, "little", signed=True)
    ours = decode_image(bytes(top_down), "rgb", LIMITS)
    assert np.array_equal(ours, scene()[::-1])


def test_a_memoryview_does():
    data = KINDS["jpeg"]
    view = memoryview(b"xx" + data + b"yy")[2:-2]
    assert np.array_equal(decode_image(view, "rgb", LIMITS), decode_image(data, "rgb", LIMITS))


def test_many_threads_at_once():
    expected = {kind: decode_image(data, "rgb", LIMITS) for kind, data in KINDS.items()}
    jobs = list(KINDS) * 6
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda kind: decode_image(KINDS[kind], "rgb", LIMITS), jobs)
        for kind, pixels in zip(jobs, found, strict=True):
            assert np.array_equal(pixels, expected[kind])


def test_no_global_state_is_changed():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for data in KINDS.values():
        decode_image(data, "rgb", LIMITS)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert after == before
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
