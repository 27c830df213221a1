"""Photos from a folder: found, read, held out, and multiplied where there are few."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enginecrate.builder.project.augmentation import Change, augmented, changes
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.errors import CalibrationInvalid, PipelineError, TensorMismatch
from enginecrate.pipelines.base import Pipeline
from enginecrate.values import Digest, Progress, no_progress

__all__ = [
    "Photo",
    "PhotoSet",
    "augment",
    "find_photos",
    "hold_out",
    "photo_paths",
    "photos_digest",
    "read_photos",
    "spread",
]

_IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_TENSORS = (".npz",)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo, or for the task `tensors` an `.npz` archive.

    name: its place in the folder, with slashes; of a copy, with what was changed.
    digest: of the file's bytes; of a copy, of the file's digest and what was changed.
    group: the digest of the file; copies of one photo have the same.
    """

    name: str
    digest: str
    group: str
    path: Path = field(repr=False)
    change: Change | None = None

    def read(self) -> bytes:
        """The bytes that a client would send.

        Raises:
            CalibrationInvalid: the file changed or vanished since it was found.
        """
        try:
            payload = self.path.read_bytes()
        except OSError as exc:
            raise CalibrationInvalid(
                f"cannot read {self.path} any more: {exc.strerror}; leave the photos as they are "
                "while this runs, and start again"
            ) from exc
        if Digest.of(payload) != self.group:
            raise CalibrationInvalid(
                f"{self.path} was changed while this ran; leave the photos as they are, and "
                "start again"
            )
        return payload if self.change is None else augmented(payload, self.change)


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """The photos of a folder. `skipped`: names with the reason why each cannot be used."""

    photos: tuple[Photo, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def find_photos(folder: Path, task: str) -> PhotoSet:
    """Find the files by their endings, in subfolders too, sorted by name. Decodes nothing.

    Files with the same bytes count once; the others are among the skipped.

    Args:
        folder: where they lie.
        task: `tensors` looks for `.npz` archives, every other one for JPEG, PNG, WebP and BMP.

    Raises:
        CalibrationInvalid: there is no such folder, or no such file in it.
    """
    return _identify(folder, photo_paths(folder, task))


def photo_paths(folder: Path, task: str) -> list[Path]:
    """The files that `find_photos` finds, unread. Arguments and errors as there."""
    endings = _TENSORS if task == "tensors" else _IMAGES
    kinds = ", ".join(endings)
    if not folder.is_dir():
        raise CalibrationInvalid(
            f"there is no folder {folder}; create it and put photos ({kinds}) there as the app "
            "will see them"
        )
    paths = [path for path in _files(folder) if path.suffix.lower() in endings]
    if not paths:
        raise CalibrationInvalid(
            f"the folder {folder} holds no photos ({kinds}); put some there as the app will see "
            "them: about 500 are recommended"
        )
    return paths


def read_photos(folder: Path, pipeline: Pipeline, progress: Progress = no_progress) -> PhotoSet:
    """Find the photos and prepare each once: those that the pipeline refuses are skipped.

    Raises:
        CalibrationInvalid: as `find_photos`, or no photo is left.
    """
    photo_set = find_photos(folder, pipeline.task)
    refused: dict[str, str] = {}
    with ThreadPoolExecutor(available_cores()) as pool:
        reasons = pool.map(lambda photo: _refusal(photo, pipeline), photo_set.photos)
        try:
            for done, (photo, reason) in enumerate(zip(photo_set.photos, reasons, strict=True), 1):
                if reason:
                    refused[photo.name] = reason
                progress("read the photos", done, len(photo_set.photos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    photos = tuple(photo for photo in photo_set.photos if photo.name not in refused)
    skipped = tuple(sorted((*photo_set.skipped, *refused.items())))
    if not photos:
        shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise CalibrationInvalid(
            f"none of the {len(photo_set.photos)} photos in {folder} can be read ({shown}); "
            "replace them with ones that the app would take"
        )
    return PhotoSet(photos, skipped)


def hold_out(
    photos: Sequence[Photo], share: float = 0.2
) -> tuple[tuple[Photo, ...], tuple[Photo, ...]]:
    """Split photos into those to calibrate with and those held out to measure accuracy.

    Copies of one photo stay together. Who is held out follows from the photos' bytes alone:
    names and order do not count.

    Args:
        photos: of any order.
        share: of the groups to hold out, 0..1; of two groups or more at least one is, and at
            least one is not.
    """
    groups = sorted({photo.group for photo in photos}, key=_shuffled)
    count = round(len(groups) * share)
    if share > 0 and len(groups) > 1:
        count = min(max(count, 1), len(groups) - 1)
    held = set(groups[:count])
    kept = tuple(photo for photo in photos if photo.group not in held)
    return kept, tuple(photo for photo in photos if photo.group in held)


def augment(photos: Sequence[Photo], count: int) -> tuple[Photo, ...]:
    """The photos, and copies of them until there are `count`: flipped, cropped, brighter, darker.

    The same photos give the same copies. Archives of tensors have none: only their vendor knows
    what may be changed.
    """
    images = [photo for photo in photos if photo.path.suffix.lower() in _IMAGES]
    copies: list[Photo] = []
    for change in changes():
        for photo in images:
            if len(photos) + len(copies) >= count:
                return (*photos, *copies)
            copies.append(_copy(photo, change))
    return (*photos, *copies)


def spread(photos: Sequence[Photo], most: int) -> tuple[Photo, ...]:
    """At most this many photos, chosen evenly."""
    if len(photos) <= most:
        return tuple(photos)
    return tuple(photos[place * len(photos) // most] for place in range(most))


def photos_digest(photos: Iterable[Photo]) -> Digest:
    """One digest of all photos' bytes, whatever their names and order."""
    return Digest.of(msgspec.json.encode(sorted(photo.digest for photo in photos)))


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, without hidden ones (`.DS_Store`, `._photo.jpg`), sorted by name."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    inside = {path.relative_to(folder): path for path in paths}
    for relative in sorted(inside, key=lambda one: one.as_posix()):
        if not any(part.startswith(".") for part in relative.parts):
            yield inside[relative]


def _identify(folder: Path, paths: Sequence[Path]) -> PhotoSet:
    photos: list[Photo] = []
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            digest = str(Digest.of_file(path))
        except OSError as exc:
            skipped.append((name, f"cannot be read: {exc.strerror}"))
            continue
        if digest in seen:
            skipped.append((name, f"has the same bytes as {seen[digest]}"))
            continue
        seen[digest] = name
        photos.append(Photo(name, digest, digest, path))
    return PhotoSet(tuple(photos), tuple(skipped))


def _refusal(photo: Photo, pipeline: Pipeline) -> str:
    try:
        pipeline.prepare(photo.read())
    except (PipelineError, TensorMismatch) as exc:
        return str(exc)
    except (CalibrationInvalid, MemoryError):
        raise
    except Exception as exc:  # the vendor's own class may raise anything
        return f"{type(exc).__name__}: {exc}"
    return ""


def _copy(photo: Photo, change: Change) -> Photo:
    digest = Digest.of(f"{photo.digest} {change.name}".encode())
    return Photo(f"{photo.name} ({change.name})", str(digest), photo.group, photo.path, change)


def _shuffled(group: str) -> str:
    """A place in an order that has nothing to do with what else digests are sorted for."""
    return hashlib.sha256(f"hold out {group}".encode()).hexdigest()
