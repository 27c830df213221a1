import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from enginecrate.errors import ImageUndecodable, PipelineError
from enginecrate.pipelines.annotate import annotate
from enginecrate.pipelines.base import (
    Classification,
    ClassificationResult,
    Detection,
    DetectionResult,
    Limits,
    TensorsResult,
)
from enginecrate.pipelines.box_labels import TagPen, class_color
from pictures import encoded, with_orientation

LIMITS = Limits()


def flat(width: int, height: int) -> bytes:
    return encoded(np.full((height, width, 3), 90, np.uint8), "PNG")


def drawn(data: bytes, result) -> np.ndarray:
    png = annotate(data, result, LIMITS)
    assert png.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def one(width: int, height: int, *box: float, label: str = "cat") -> DetectionResult:
    return DetectionResult(width, height, [Detection(label, 3, 0.9, box)])


def where(picture: np.ndarray, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """The box around every pixel of a color."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    ("size", "factor"), [((640, 480), 1), ((100, 60), 4), ((3840, 2000), 0.5), ((1, 1), 320)]
)
def test_boxes_lie_where_they_should(size: tuple[int, int], factor: float):
    width, height = size
    box = (width * 0.25, height * 0.5, width * 0.75, height)
    picture = drawn(flat(width, height), one(width, height, *box))
    assert picture.shape[:2] == (height * factor, width * factor)
    left, _, right, bottom = where(picture, class_color(3))
    assert (right, bottom) == (round(box[2] * factor), round(box[3] * factor))
    assert left in (round(box[0] * factor), 0)  # 0: a tag wider than the picture


def test_the_inside_of_a_box_stays_as_it_was():
    picture = drawn(flat(640, 480), one(640, 480, 100, 100, 300, 300))
    assert (picture[110:290, 110:290] == 90).all()
    assert (picture[310:] == 90).all()


@pytest.mark.parametrize(
    "box", [(-50, -50, 9000, 9000), (639, 479, 640, 480), (5, 5, 5, 5), (0, 0, 0, 0), (640,) * 4]
)
def test_boxes_at_the_edge_are_visible(box: tuple[float, ...]):
    assert (drawn(flat(640, 480), one(640, 480, *box)) == class_color(3)).all(axis=2).any()


def test_tags_do_not_cover_each_other():
    picture = Image.new("RGB", (400, 300))
    pen = TagPen(picture)
    tags = [pen.write(f"thing {n} 0.5{n}", (50, 40), 200, (255, 0, 0)) for n in range(8)]
    for index, tag in enumerate(tags):
        assert 0 <= tag[0] < tag[2] <= 400
        assert 0 <= tag[1] < tag[3] <= 300
        for other in tags[:index]:
            assert tag[3] <= other[1] or other[3] <= tag[1] or tag[2] <= other[0]


def test_many_boxes_in_the_same_place():
    found = [Detection(f"class {n}", n, 1 - n / 200, (10, 10, 60, 60)) for n in range(100)]
    assert drawn(flat(320, 240), DetectionResult(320, 240, found)).shape == (240, 320, 3)


def test_a_long_label_is_shortened_and_keeps_its_score():
    picture = Image.new("RGB", (320, 200))
    tag = TagPen(picture).write("very " * 40 + "0.87", (0, 50), 100, (0, 0, 0))
    assert tag[2] - tag[0] <= 320


def test_other_scripts():
    pen = TagPen(Image.new("RGB", (320, 200)))
    assert pen.writable("traffic light 0.5") == "traffic light 0.5"
    assert pen.writable("vélo, Müll") == "velo, Mull"
    assert pen.writable("猫") is None
    number = drawn(flat(320, 240), one(320, 240, 50, 50, 200, 200, label="class 3"))
    assert np.array_equal(
        drawn(flat(320, 240), one(320, 240, 50, 50, 200, 200, label="猫")), number
    )


def test_text_can_be_read_on_every_color():
    def luminance(color) -> float:  # WCAG 2.2, relative luminance
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                  for c in (channel / 255 for channel in color)]  # fmt: skip
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for class_id in range(100):
        picture = Image.new("RGB", (400, 60))
        tag = TagPen(picture).write("label 0.50", (0, 0), 0, class_color(class_id))
        pixels = np.asarray(picture)[tag[1] : tag[3], tag[0] : tag[2]].reshape(-1, 3)
        text = (0, 0, 0) if (pixels == 0).all(axis=1).any() else (255, 255, 255)
        pair = sorted([luminance(text), luminance(class_color(class_id))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5  # WCAG, level AA


def test_neighbouring_classes_differ_in_color():
    for class_id in range(80):
        for other in range(class_id + 1, class_id + 4):
            pair = np.abs(np.subtract(class_color(class_id), class_color(other)))
            assert pair.max() > 60


def test_the_picture_is_upright():
    image = Image.new("RGB", (640, 480), (90, 90, 90))
    ImageDraw.Draw(image).rectangle((0, 0, 99, 99), fill=(255, 255, 255))
    data = with_orientation(image, 6, "PNG")  # the top left goes to the top right
    picture = drawn(data, one(480, 640, 380, 0, 480, 100))
    assert picture.shape == (640, 480, 3)
    assert (picture[40:90, 390:470] == 255).all()


def test_a_caption():
    classes = [Classification(f"kind {n}", n, 0.5 - n / 10) for n in range(5)]
    picture = drawn(flat(640, 480), ClassificationResult(640, 480, classes))
    changed = (picture != 90).any(axis=2)
    rows = np.nonzero(changed.any(axis=1))[0]
    assert rows.min() == 0
    assert 40 < rows.max() < 90  # three lines
    assert drawn(flat(640, 480), ClassificationResult(640, 480, [])).max() == 90


def test_what_cannot_be_drawn():
    with pytest.raises(PipelineError, match="tensors cannot be drawn"):
        annotate(flat(8, 8), TensorsResult([]), LIMITS)
    with pytest.raises(ImageUndecodable):
        annotate(flat(8, 8)[:-20], DetectionResult(8, 8, []), LIMITS)
