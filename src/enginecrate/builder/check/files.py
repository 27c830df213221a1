"""Files and folders that a manifest names: their kind, links, contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enginecrate.builder.check.fault import CheckFault, Key
from enginecrate.builder.golden.samples import load_golden
from enginecrate.builder.plans.targets import wanted_precisions
from enginecrate.builder.project.photos import photo_paths
from enginecrate.errors import EnginecrateError
from enginecrate.graph.typed import QUANTISED
from enginecrate.manifest import Listing, Manifest, named_files

__all__ = ["path_faults", "photo_faults"]

_FOLDERS = {("precision", "accuracy", "golden"), ("precision", "calibration", "images"),
            ("precision", "accuracy", "images")}  # fmt: skip
_EITHER = {("precision", "accuracy", "labelled"), ("image", "files")}
_PNG = b"\x89PNG\r\n\x1a\n"


def path_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[CheckFault]:
    """Files in place of folders, and links that lead out of the project."""
    for key, value in named_files(manifest):
        path = root / value
        if key in absent or not path.exists():
            continue
        kind = key[:2] if key[0] == "image" else key
        if kind in _FOLDERS and not path.is_dir():
            yield CheckFault(
                key, f"{value!r} is not a folder; name the folder that holds the files"
            )
        elif kind not in _FOLDERS | _EITHER and not path.is_file():
            yield CheckFault(key, f"{value!r} is not a file; name the file itself")
        elif links := _links_out(path, root):
            more = f" (and {len(links) - 1} more)" if len(links) > 1 else ""
            yield CheckFault(
                key,
                f"{links[0]!r}{more} is a link that leads out of the project folder, and images "
                "hold nothing from there; put a copy in its place",
            )
    if manifest.listing is not None:
        yield from _listing_faults(manifest.listing, root)


def photo_faults(manifest: Manifest, root: Path, absent: set[Key]) -> Iterator[CheckFault]:
    """Folders without photos, and golden samples that cannot be read."""
    precision, task = manifest.precision, manifest.pipeline.task
    accuracy, calibration = precision.accuracy, precision.calibration
    wanted = bool({*wanted_precisions(manifest)} & {*QUANTISED})
    folders: list[tuple[Key, str]] = []
    if calibration is not None:
        folders.append((("precision", "calibration", "images"), calibration.images))
    if accuracy.images is not None:
        folders.append((("precision", "accuracy", "images"), accuracy.images))
        if calibration and _same(root / accuracy.images, root / calibration.images):
            yield CheckFault(
                ("precision", "accuracy", "images"),
                "is the folder of the calibration photos; what calibrates cannot examine: name "
                "other photos, or leave it out, and a fifth of them is held out",
            )
    for key, value in folders:
        if key in absent or not (root / value).is_dir():
            continue
        try:
            photo_paths(root / value, task)
        except EnginecrateError as exc:
            yield CheckFault(key, str(exc), exc.code, warning=not wanted)
    golden: Key = ("precision", "accuracy", "golden")
    if golden in absent:
        return
    try:
        samples = load_golden(root / accuracy.golden)
    except EnginecrateError as exc:
        yield CheckFault(golden, str(exc), exc.code)
        return
    if not samples and accuracy.golden.rstrip("/") != "golden":
        yield CheckFault(golden, "has no golden samples: the app is unproven", warning=True)


def _listing_faults(listing: Listing, root: Path) -> Iterator[CheckFault]:
    if listing.description and (root / listing.description).is_file():
        try:
            (root / listing.description).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError) as exc:
            yield CheckFault(("listing", "description"), f"cannot be read as UTF-8 text: {exc}")
    if listing.icon and (root / listing.icon).is_file():
        with (root / listing.icon).open("rb") as file:
            if file.read(len(_PNG)) != _PNG:
                yield CheckFault(
                    ("listing", "icon"), f"{listing.icon!r} is not a PNG file; convert it"
                )


def _links_out(path: Path, root: Path) -> list[str]:
    folder = root.resolve()
    paths = [path, *(path.rglob("*") if path.is_dir() else ())]
    leading = (one for one in paths if one.is_symlink() or one == path)
    return [
        one.relative_to(root).as_posix()
        for one in leading
        if not one.resolve().is_relative_to(folder)
    ]


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
