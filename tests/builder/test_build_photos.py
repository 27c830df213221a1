"""Photos from a folder: found, read, held out, multiplied."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from enginecrate.builder.project.photos import (
    Photo,
    augment,
    find_photos,
    hold_out,
    photos_digest,
    read_photos,
    spread,
)
from enginecrate.builder.project.project import Project, open_project
from enginecrate.errors import CalibrationInvalid
from tiny_project import make_project, photo, settings


@pytest.fixture
def opened(tmp_path: Path) -> Project:
    return open_project(make_project(tmp_path / "project"), settings(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten photos, some of them in a folder of their own."""
    found = tmp_path / "photos"
    (found / "more").mkdir(parents=True)
    for number in range(10):
        name = f"more/{number}.PNG" if number % 3 == 0 else f"{number}.png"
        (found / name).write_bytes(photo((number * 20, 90, 10)))
    return found


def test_photos_are_found_in_subfolders_and_sorted_by_name(folder: Path, opened: Project):
    (folder / ".hidden.png").write_bytes(b"not even a picture")
    (folder / "notes.txt").write_text("not a photo")
    names = [one.name for one in read_photos(folder, opened.pipeline).photos]
    assert names == ["1.png", "2.png", "4.png", "5.png", "7.png", "8.png",
                     "more/0.PNG", "more/3.PNG", "more/6.PNG", "more/9.PNG"]  # fmt: skip


def test_what_cannot_be_used_is_named_with_the_reason(folder: Path, opened: Project):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    (folder / "cut.png").write_bytes(photo((1, 2, 3))[:90])
    (folder / "letter.webp").write_text("Dear Sir")
    shutil.copy(folder / "1.png", folder / "2 (copy).png")
    found = read_photos(folder, opened.pipeline)
    assert len(found.photos) == 10
    skipped = dict(found.skipped)
    assert list(skipped) == ["2 (copy).png", "broken.jpg", "cut.png", "letter.webp"]
    assert skipped["2 (copy).png"] == "has the same bytes as 1.png"
    assert "damaged" in skipped["broken.jpg"]
    assert all(skipped.values())


def test_folders_without_photos_say_what_to_do(tmp_path: Path, opened: Project):
    with pytest.raises(CalibrationInvalid, match=r"there is no folder .*create it"):
        read_photos(tmp_path / "nowhere", opened.pipeline)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CalibrationInvalid, match=r"holds no photos .*about 500 are recommended"):
        read_photos(empty, opened.pipeline)
    (empty / "bad.png").write_bytes(b"bad")
    with pytest.raises(CalibrationInvalid, match=r"none of the 1 photos .*bad\.png"):
        read_photos(empty, opened.pipeline)


def test_archives_of_tensors_are_found_for_their_task_only(folder: Path):
    np.savez(folder / "a.npz", x=np.zeros(3))
    assert [one.name for one in find_photos(folder, "tensors").photos] == ["a.npz"]
    assert "a.npz" not in [one.name for one in find_photos(folder, "detection").photos]


def test_a_photo_that_changes_while_this_runs_is_an_error(folder: Path, opened: Project):
    first, second, *_ = read_photos(folder, opened.pipeline).photos
    first.path.write_bytes(photo((9, 9, 9)))
    with pytest.raises(CalibrationInvalid, match="was changed"):
        first.read()
    second.path.unlink()
    with pytest.raises(CalibrationInvalid, match="cannot read"):
        second.read()


def test_holding_out_depends_on_the_bytes_alone(folder: Path, tmp_path: Path, opened: Project):
    photos = read_photos(folder, opened.pipeline).photos
    kept, held = hold_out(photos)
    assert (len(kept), len(held)) == (8, 2)
    assert {*kept, *held} == set(photos)
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, one in enumerate(photos):
        shutil.copy(one.path, renamed / f"{100 - number}.png")
    _, again = hold_out(read_photos(renamed, opened.pipeline).photos)
    assert {one.digest for one in again} == {one.digest for one in held}


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.2, 0), (2, 0.2, 1), (2, 1, 1), (10, 0.5, 5), (10, 0, 0)]
)
def test_a_side_is_left_empty_only_when_it_must_be(
    folder: Path, opened: Project, count: int, share: float, expected: int
):
    photos = read_photos(folder, opened.pipeline).photos[:count]
    assert len(hold_out(photos, share)[1]) == expected


def test_copies_of_a_photo_stay_on_its_side(folder: Path, opened: Project):
    photos = augment(read_photos(folder, opened.pipeline).photos, 60)
    kept, held = hold_out(photos)
    assert {one.group for one in kept}.isdisjoint(one.group for one in held)
    assert len({one.group for one in held}) == 2


def pixels(one: Photo) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(one.read())).convert("RGB"))


def test_copies_are_the_same_every_time_and_all_different(folder: Path, opened: Project):
    photos = read_photos(folder, opened.pipeline).photos[:2]
    copies = augment(photos, 36)
    assert len(copies) == 36
    assert copies[:2] == photos
    assert len({one.digest for one in copies}) == len({one.name for one in copies}) == 36
    assert len({one.read() for one in copies}) == 36
    assert [one.read() for one in augment(photos, 36)] == [one.read() for one in copies]
    for one in copies:
        opened.pipeline.prepare(one.read())


def test_copies_are_mirrored_cropped_darker_and_brighter(tmp_path: Path, opened: Project):
    gradient = np.zeros((50, 100, 3), np.uint8)
    gradient[..., 0] = np.arange(100)
    Image.fromarray(gradient).save(tmp_path / "one.png")
    original, *copies = augment(find_photos(tmp_path, "detection").photos, 18)
    by_name = {one.change.name: pixels(one) for one in copies if one.change}
    assert len(by_name) == 17
    np.testing.assert_array_equal(by_name["mirrored"], pixels(original)[:, ::-1])
    assert by_name["left"].shape == (40, 80, 3)
    assert by_name["right"][0, 0, 0] == 20
    assert by_name["darker"].mean() < pixels(original).mean() < by_name["brighter"].mean()


def test_there_are_no_more_copies_than_changes(folder: Path, opened: Project):
    photos = read_photos(folder, opened.pipeline).photos[:1]
    assert len(augment(photos, 100)) == 18
    assert augment(photos, 1) == photos
    archives = [Photo("a.npz", "d", "d", folder / "a.npz")]
    assert augment(archives, 100) == tuple(archives)


def test_a_turned_photo_is_copied_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "turned.jpg", exif=exif)
    _, copy = augment(find_photos(tmp_path, "detection").photos, 2)
    assert pixels(copy).shape == (40, 20, 3)


def test_photos_are_spread_evenly(folder: Path, opened: Project):
    photos = read_photos(folder, opened.pipeline).photos
    assert [one.name for one in spread(photos, 3)] == ["1.png", "5.png", "more/0.PNG"]
    assert spread(photos, 10) == photos
    assert len({one.name for one in spread(photos, 7)}) == 7


def test_the_digest_of_photos_does_not_depend_on_their_order(folder: Path, opened: Project):
    photos = read_photos(folder, opened.pipeline).photos
    assert photos_digest(photos) == photos_digest(reversed(photos))
    assert photos_digest(photos) != photos_digest(photos[1:])


def test_a_file_that_cannot_be_read_is_skipped(folder: Path, opened: Project):
    (folder / "blocked.png").symlink_to("/proc/self/mem")  # not even root reads its first page
    found = read_photos(folder, opened.pipeline)
    assert [name for name, _ in found.skipped] == ["blocked.png"]
    assert len(found.photos) == 10


def test_what_the_vendors_own_class_raises_is_the_reason(folder: Path, tmp_path: Path):
    extra = make_project(tmp_path / "own")
    (extra / "own.py").write_text(
        "from enginecrate.pipelines.classification import ClassificationPipeline\n"
        "class Own(ClassificationPipeline):\n"
        "    def prepare(self, payload):\n"
        "        if len(payload) % 2:\n"
        "            raise KeyError('no such camera')\n"
        "        return super().prepare(payload)\n"
    )
    manifest = extra / "enginecrate.toml"
    text = manifest.read_text().replace("[pipeline]\n", '[pipeline]\nmodule = "own:Own"\n')
    manifest.write_text(text)
    (folder / "odd.png").write_bytes(photo((5, 5, 5)) + b"!" * (1 - len(photo((5, 5, 5))) % 2))
    found = read_photos(folder, open_project(extra, settings(tmp_path / "cache")).pipeline)
    assert dict(found.skipped)["odd.png"] == "KeyError: 'no such camera'"
