"""Sort the stills and video frames of Debian's opencv-doc into three folders.

calibration/  to choose scales with
evaluation/   for the accuracy gate: never calibrated with
untouched/    seen by neither: what the gate's choice of layers did not fit itself to

Neighbouring frames look alike, so each video is cut into three stretches with gaps between them;
stills of one scene (stereo pairs, sequences) stay together. Drawings, masks and logos are left
out: no camera took them.

usage: evaluation_photos.py EXAMPLES FOLDER
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

import cv2

FOLDERS = ("calibration", "evaluation", "untouched")

# For each video and folder: first frame, end, step.
STRETCHES = {
    "vtest.avi": ((0, 300, 4), (320, 635, 2), (655, 795, 2)),
    "Megamind.avi": ((0, 100, 10), (115, 200, 4), (215, 270, 4)),
}
LEAST_SIDE = 200
MOST_OF_A_SCENE = 6
NOT_PHOTOS = re.compile(
    r"shape_sample|mask|segmented|ximgproc|alphamat|trimaps|output_mattes|detect_blob|ellipses|logo"
    r"|imageText|pca_test|aloeGT|notes|gradient|digits|pic\d|blox|stuff|templ|tmpl|sudoku|ml\.png",
    re.IGNORECASE,
)
SCENES = {
    "left": "stereo",
    "right": "stereo",
    "box_in_scene": "box",
    "ela_modified": "ela_original",
}


def main(examples: Path, folder: Path) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for name, stretches in STRETCHES.items():
        write_frames(examples / "data" / name, stretches, folder)
    counts: Counter[str] = Counter()
    for path in sorted(examples.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and not NOT_PHOTOS.search(str(path)):
            write_still(path, folder, counts)
    for name in FOLDERS:
        print(f"{name}: {len(list((folder / name).iterdir()))} photos")


def write_frames(video: Path, stretches: tuple[tuple[int, int, int], ...], folder: Path) -> None:
    capture = cv2.VideoCapture(str(video))
    number = 0
    while True:
        there, frame = capture.read()
        if not there:
            break
        for name, (first, end, step) in zip(FOLDERS, stretches, strict=True):
            if first <= number < end and (number - first) % step == 0:
                write(folder / name / f"{video.stem}-{number:04}.jpg", frame)
        number += 1
    capture.release()


def write_still(path: Path, folder: Path, counts: Counter[str]) -> None:
    image = cv2.imread(str(path))
    if image is None or min(image.shape[:2]) < LEAST_SIDE:
        return
    scene = re.sub(r"(\d+|[LRAB])$", "", path.stem)
    scene = SCENES.get(scene, scene)
    # By the scene's name, so that it does not matter what else is in the package.
    place = (0, 1, 1, 2)[hashlib.sha256(scene.encode()).digest()[0] % 4]
    counts[scene] += 1
    if counts[scene] > MOST_OF_A_SCENE:
        return
    write(folder / FOLDERS[place] / f"{path.parent.name}-{path.stem}.jpg", image)


def write(path: Path, image: object) -> None:
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 95]):
        sys.exit(f"cannot write {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
