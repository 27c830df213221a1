"""Reading the manifest. Each fault names the file, the line, the key and the cure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from enginecrate.errors import ManifestInvalid, ManifestNotFound, ManifestSyntax
from enginecrate.files.encoding import utf8
from enginecrate.manifest.faults import Fault, Key, schema_faults
from enginecrate.manifest.image_rules import image_faults
from enginecrate.manifest.locations import location_of
from enginecrate.manifest.schema import App, Manifest
from enginecrate.values import Digest

__all__ = ["MANIFEST_NAME", "ManifestFile", "check_files", "load_manifest", "parse_manifest"]

MANIFEST_NAME = "enginecrate.toml"

_GOLDEN: Key = ("precision", "accuracy", "golden")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
    try:
        data = file.read_bytes()
    except FileNotFoundError as exc:
        raise ManifestNotFound(
            f"no manifest at {file}; go to the project folder, name it with --project, "
            "or make a new project with: enginecrate init NAME"
        ) from exc
    except OSError as exc:
        raise ManifestNotFound(f"cannot read {file}: {exc.strerror}") from exc
    manifest = parse_manifest(data, file)
    return ManifestFile(file, file.parent.absolute(), Digest.of(data), manifest)


def parse_manifest(data: bytes, file: Path) -> Manifest:
    """Parse the manifest's bytes; `file` only serves the messages. Raises as `load_manifest`."""
    try:
        text = utf8(data).decode("utf-8")
        table = tomllib.loads(text)
    except UnicodeDecodeError as exc:
        raise ManifestSyntax(
            f"{file}: byte {exc.start} is not UTF-8; save the file as UTF-8"
        ) from exc
    except (tomllib.TOMLDecodeError, UnicodeError) as exc:
        raise ManifestSyntax(f"{file}: not valid TOML: {exc}") from exc
    faults = list(schema_faults(Manifest, table, ()))
    if not faults:
        manifest = msgspec.convert(table, Manifest)
        faults = list(_cross_faults(manifest))
        if not faults:
            return manifest
    lines = [f"  {location_of(text, key)}: {message}" for key, message in faults]
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    raise ManifestInvalid("\n".join([f"{file}: {count}", *lines]))


def check_files(file: ManifestFile) -> None:
    """Check that every file the manifest needs is there.

    Raises:
        ManifestInvalid: the message lists every file that is missing.
    """
    text = file.path.read_text(encoding="utf-8-sig")
    faults = [
        f"  {location_of(text, key)}: there is no file {value!r} in {file.root}"
        for key, value in _paths(file.manifest)
        if key != _GOLDEN and not (file.root / value).exists()
    ]
    if faults:
        raise ManifestInvalid("\n".join([f"{file.path}: files are missing", *faults]))


def _cross_faults(manifest: Manifest) -> Iterator[Fault]:
    """Faults that no single key can show."""
    yield from _text_faults(manifest.app)
    for key, value in _paths(manifest):
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value:
            yield key, f"{value!r} must be a path inside the project folder, without '..'"
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


def _text_faults(app: App) -> Iterator[Fault]:
    """These texts become labels of images, and are shown in terminals."""
    for name in app.__struct_fields__:
        if _CONTROL.search(getattr(app, name)):
            yield ("app", name), "must be one line of text, without control characters"


def _paths(manifest: Manifest) -> Iterator[Fault]:
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
        for file in manifest.image.files:
            yield ("image", "files"), file
    for name in ("description", "icon"):
        if listing is not None and getattr(listing, name) is not None:
            yield ("listing", name), getattr(listing, name)
