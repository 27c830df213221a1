"""Reading the manifest. Each fault names the file, the line, the key and the cure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from enginecrate.errors import ManifestInvalid, ManifestNotFound, ManifestSyntax, nearest
from enginecrate.files.encoding import utf8
from enginecrate.manifest.faults import Fault, Key, schema_faults, without, written_faults
from enginecrate.manifest.image_rules import image_faults
from enginecrate.manifest.locations import Locations, escaped
from enginecrate.manifest.schema import Manifest
from enginecrate.values import Digest

__all__ = [
    "MANIFEST_NAME",
    "Draft",
    "LocatedFault",
    "ManifestFile",
    "check_files",
    "faulty_manifest",
    "load_manifest",
    "locate",
    "missing_files",
    "named_files",
    "parse_manifest",
    "read_draft",
]

MANIFEST_NAME = "enginecrate.toml"

_GOLDEN: Key = ("precision", "accuracy", "golden")

_USUAL_GOLDEN = "golden"

_PLACEHOLDERS = {
    "app": (("name", "version"), ("app", "0.0.0")),
    "model": (("path",), ("model.onnx",)),
    "pipeline": (("task",), ("tensors",)),
}


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest that was read and checked. `digest` is of the file's bytes."""

    path: Path
    root: Path
    digest: Digest
    manifest: Manifest


def load_manifest(path: Path) -> ManifestFile:
    """Read the manifest.

    Args:
        path: the file, or the project folder that holds it.

    Raises:
        ManifestNotFound: no such file.
        ManifestSyntax: not UTF-8, or not TOML.
        ManifestInvalid: the schema is not followed; the message lists every fault.
    """
    file = path / MANIFEST_NAME if path.is_dir() else path
    data = _read(file)
    manifest = parse_manifest(data, file)
    return ManifestFile(file, file.parent.absolute(), Digest.of(data), manifest)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as exc:
        raise ManifestNotFound(
            f"no manifest at {file}; go to the project folder, name it with --project, "
            "or make a new project with: enginecrate init NAME"
        ) from exc
    except OSError as exc:
        raise ManifestNotFound(f"cannot read {file}: {exc.strerror}") from exc


def parse_manifest(data: bytes, file: Path) -> Manifest:
    """Parse the manifest's bytes; `file` only serves the messages. Raises as `load_manifest`."""
    draft = parse_draft(data, file)
    if draft.manifest is None or draft.faults:
        raise invalid_manifest(draft, draft.faults)
    return draft.manifest


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest with its faults.

    manifest: what is left without the keys that have faults; `None`: too little.
    """

    path: Path
    text: str
    faults: tuple[Fault, ...]
    manifest: Manifest | None
    digest: Digest


class LocatedFault(msgspec.Struct, frozen=True):
    """A fault as it is shown. line, column: of the key, from 1; 0 when it has no place there."""

    line: int
    column: int
    key: str
    message: str
    code: str = ManifestInvalid.code

    def __str__(self) -> str:
        line = f"line {self.line}, " if self.line else ""
        column = f" (column {self.column})" if self.column > 1 else ""
        return f"{line}{self.key}: {self.message}{column}"


def read_draft(path: Path) -> Draft:
    """Read a manifest that may have faults. Raises `ManifestNotFound` and `ManifestSyntax`."""
    file = path / MANIFEST_NAME if path.is_dir() else path
    return parse_draft(_read(file), file)


def parse_draft(data: bytes, file: Path) -> Draft:
    """Parse a manifest that may have faults. Raises `ManifestSyntax`."""
    try:
        text = utf8(data).decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise ManifestSyntax(
            f"{file}: byte {exc.start} is not UTF-8; save the file as UTF-8"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeError, RecursionError) as exc:
        raise ManifestSyntax(f"{file}: not valid TOML: {exc}") from exc
    faults = list(written_faults(table))
    faults += _new(schema_faults(Manifest, table, ()), faults)
    manifest = _converted(without(table, faults))
    if manifest is not None:
        faults += _new(_cross_faults(manifest), faults)
    return Draft(file, text, tuple(faults), manifest, Digest.of(data))


def locate(text: str, faults: Iterable[Fault]) -> list[LocatedFault]:
    """Faults with their lines and columns, in the order of the text."""
    locations = Locations(text)
    located = []
    for key, message in faults:
        line, column = locations.find(key)
        names = ".".join(escaped(str(part)) for part in key if not isinstance(part, int))
        located.append(LocatedFault(line, column, names, message))
    return sorted(located, key=lambda fault: (fault.line, fault.column))


def invalid_manifest(draft: Draft, faults: Sequence[Fault]) -> ManifestInvalid:
    """The error that lists these faults."""
    return faulty_manifest(draft.path, locate(draft.text, faults))


def faulty_manifest(path: Path, faults: Sequence[LocatedFault]) -> ManifestInvalid:
    """The error that lists these faults."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return ManifestInvalid(
        "\n".join([f"{path}: {count}", *(f"  {fault}" for fault in faults)]), faults=faults
    )


def check_files(file: ManifestFile) -> None:
    """Check that every file the manifest needs is there.

    A folder of golden samples need not exist only where it has its usual name.

    Raises:
        ManifestInvalid: the message lists every file that is missing.
    """
    faults = list(missing_files(file.manifest, file.root))
    if faults:
        located = locate(file.path.read_text(encoding="utf-8-sig"), faults)
        lines = [f"  {fault}" for fault in located]
        raise ManifestInvalid(
            "\n".join([f"{file.path}: files are missing", *lines]), faults=located
        )


def missing_files(manifest: Manifest, root: Path) -> Iterator[Fault]:
    """Files and folders that the manifest names, and that are not there."""
    for key, value in named_files(manifest):
        if key == _GOLDEN and value.rstrip("/") == _USUAL_GOLDEN:
            continue
        path = root / value
        if not path.exists():
            near = nearest(path.name, (one.name for one in _siblings(path)))
            yield (
                key,
                f"there is no file {value!r} in {root}{near or '; put it there, or correct it'}",
            )


def _siblings(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def _new(faults: Iterable[Fault], known: Sequence[Fault]) -> list[Fault]:
    """Those about other keys than the known ones."""
    keys = {key for key, _ in known}
    around = {key[:length] for key in keys for length in range(1, len(key))}
    return [
        (key, message)
        for key, message in faults
        if key not in around and not any(key[:length] in keys for length in range(1, len(key) + 1))
    ]


def _converted(table: dict[str, Any]) -> Manifest | None:
    """The manifest, with names in place of those that are missing."""
    for section, (name, value) in _PLACEHOLDERS.items():
        inside = table.setdefault(section, {})
        if isinstance(inside, dict):
            for key, text in zip(name, value, strict=True):
                inside.setdefault(key, text)
    try:
        return msgspec.convert(table, Manifest)
    except msgspec.ValidationError:
        return None


def _cross_faults(manifest: Manifest) -> Iterator[Fault]:
    """Faults that no single key can show."""
    yield from _path_faults(manifest)
    for number, profile in enumerate(manifest.model.profiles):
        for name, (low, best, high) in profile.items():
            ordered = all(a <= b <= c for a, b, c in zip(low, best, high, strict=False))
            if not len(low) == len(best) == len(high) or not ordered:
                yield (
                    ("model", "profiles"),
                    f"profile {number}, input {name!r}: min, opt and max shape must have the same "
                    f"length and grow: min <= opt <= max, found {low}, {best}, {high}",
                )
    precisions = [manifest.precision.mode, *manifest.targets.precisions]
    calibrated = [name for name in precisions if name in ("int8", "fp8")]
    if calibrated and manifest.precision.calibration is None:
        yield (
            ("precision", "calibration"),
            f"is missing: {calibrated[0]} needs photos to calibrate with, for example "
            'calibration = { images = "calibration/" }',
        )
    spec = manifest.pipeline
    if spec.task == "detection" and spec.decoder is None and spec.module is None:
        yield (
            ("pipeline", "decoder"),
            "is missing: a detection task needs a decoder, or a module of your own",
        )
    if len(spec.mean) != len(spec.std) or 0 in spec.std:
        yield ("pipeline", "std"), "must have as many numbers as mean, and none may be 0"
    if manifest.image is not None:
        yield from image_faults(manifest.image)


def _path_faults(manifest: Manifest) -> Iterator[Fault]:
    for key, value in named_files(manifest):
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value:
            yield key, f"{value!r} must be a path inside the project folder, without '..'"
        elif not value.strip() or (path == PurePosixPath() and key[0] != "image"):
            yield key, f"{value!r} must name something inside the project folder"


def named_files(manifest: Manifest) -> Iterator[Fault]:
    """Keys and the paths in the project that they name."""
    spec, precision, listing = manifest.pipeline, manifest.precision, manifest.listing
    yield ("model", "path"), manifest.model.path
    if spec.labels is not None:
        yield ("pipeline", "labels"), spec.labels
    if spec.module is not None:
        name = spec.module.partition(":")[0]
        yield ("pipeline", "module"), name if name.endswith(".py") else f"{name}.py"
    yield _GOLDEN, precision.accuracy.golden
    if precision.calibration is not None:
        yield ("precision", "calibration", "images"), precision.calibration.images
    for name in ("images", "labelled"):
        if (value := getattr(precision.accuracy, name)) is not None:
            yield ("precision", "accuracy", name), value
    if manifest.image is not None:
        for index, file in enumerate(manifest.image.files):
            yield ("image", "files", index), file
    for name in ("description", "icon"):
        if listing is not None and getattr(listing, name) is not None:
            yield ("listing", name), getattr(listing, name)
