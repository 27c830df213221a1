"""The lock `enginecrate.lock`: every version that a project's stacks resolve to.

It holds the checksum of the manifest that it was written for, and of each stack's data. When either
has changed, the lock is stale, and that is an error: nothing goes on with versions that nobody
chose.

What the fields of a lock may hold.

A lock comes with a project that somebody else wrote, and its fields become names of files and words
of apt's and pip's command lines. So each has a narrow form, which is checked before anything is
used: a name is never a path, never an option, and never more than one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from enginecrate.errors import LockInvalid, LockStale
from enginecrate.manifest import ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.version import __version__

__all__ = [
    "LOCK_NAME",
    "Lock",
    "LockedDeb",
    "LockedImage",
    "LockedWheel",
    "check_fields",
    "check_lock",
    "load_lock",
    "make_lock",
    "render_lock",
]

Meta = msgspec.Meta

# `\A` and `\Z`: `$` would let a line break pass. The longest name of a file on Linux has 255 bytes.
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
DigestText = Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
InputsDigest = Annotated[str, Meta(pattern=r"\A(?:sha256:[0-9a-f]{64})?\Z")]
Size = Annotated[int, Meta(ge=0)]
Text = Annotated[str, Meta(pattern=r"\A[ -~]*\Z", max_length=200)]

StackName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]*\Z", max_length=100)]
Platform = Annotated[str, Meta(pattern=r"\Alinux/(?:amd64|arm64)\Z")]
BaseName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]*\Z", max_length=100)]
Interpreter = Annotated[str, Meta(pattern=r"\A[0-9]+\.[0-9]+[A-Za-z0-9.+~]*\Z", max_length=50)]
CompressionText = Annotated[
    str, Meta(pattern=r"\A(?:zstd|gzip) [0-9]+[A-Za-z0-9.+-]* level [0-9]{1,2}\Z", max_length=100)
]

# Debian policy, sections 5.6.1 (names), 5.6.12 (versions), 5.6.8 (architectures).
_DEB_VERSION = r"[0-9][A-Za-z0-9.+~:-]*"
DebName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9+.-]+\Z", max_length=200)]
DebVersion = Annotated[str, Meta(pattern=rf"\A{_DEB_VERSION}\Z", max_length=200)]
DebSource = Annotated[
    str, Meta(pattern=rf"\A(?:[a-z0-9][a-z0-9+.-]+ {_DEB_VERSION})?\Z", max_length=400)
]
DebFile = Annotated[str, Meta(pattern=r"\A[a-z0-9][A-Za-z0-9+.~_%:-]*\.deb\Z", max_length=255)]
Architecture = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]*\Z", max_length=50)]

# PEP 503 (names as indexes compare them), PEP 440 (versions), PEP 427 (files).
WheelName = Annotated[str, Meta(pattern=r"\A[a-z0-9]+(?:-[a-z0-9]+)*\Z", max_length=200)]
WheelVersion = Annotated[str, Meta(pattern=r"\Av?[0-9][A-Za-z0-9.!+_-]*\Z", max_length=200)]
WheelFile = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+!-]*\.whl\Z", max_length=255)]

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SHOWN = 100


def describe_fault(table: Any, fault: msgspec.ValidationError) -> str:
    """What is wrong in a lock, with the entry and what stands there.

    Args:
        table: the lock's tables, which the fault was found in.
        fault: says the place as a path, `$.images[0].debs[3].file`.
    """
    message = str(fault)
    found = _PLACE.search(message)
    if found is None:
        return message
    value, entry = table, ""
    for key, index in _STEP.findall(found[1]):
        try:
            value = value[key] if key else value[int(index)]
        except (LookupError, TypeError, ValueError):
            return message
        if isinstance(value, dict):
            entry = str(value.get("name") or value.get("stack") or "")[:_SHOWN]
    of = f" (of {entry!r})" if entry else ""
    return f"{found[1]}{of} is {repr(value)[:_SHOWN]}: {message[: found.start()]}"


LOCK_NAME = "enginecrate.lock"

_FORMAT = 2


class LockedPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Python package with its one version."""

    name: Text
    version: Text


class LockedStack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A stack as it was when the lock was written. `digest`: of its data, `Stack.digest`."""

    name: StackName
    digest: DigestText
    platforms: tuple[Platform, ...]
    minimum_driver: Text
    versions: dict[Text, Text]
    packages: tuple[LockedPackage, ...] = ()


class LockedDeb(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Debian package. `source`: name and version of its source package."""

    name: DebName
    version: DebVersion
    architecture: Architecture
    file: DebFile
    sha256: Sha256
    size: Size
    source: DebSource = ""


class LockedWheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Python wheel."""

    name: WheelName
    version: WheelVersion
    file: WheelFile
    sha256: Sha256
    size: Size


class LockedImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that one image is made of beside the app: a stack on a platform.

    base: the distribution, for example `debian-12`; `interpreter`: the version of its Python.
    compression: `zstd` or `gzip` with library version and level, as `zstd 1.5.7 level 12`.
    inputs: checksum of what was asked for (base, packages, requirements); while it is the same, the
        versions stay.
    """

    stack: StackName
    platform: Platform
    base: BaseName
    interpreter: Interpreter
    compression: CompressionText
    inputs: InputsDigest = ""
    debs: tuple[LockedDeb, ...]
    wheels: tuple[LockedWheel, ...]

    @property
    def packages(self) -> tuple[LockedDeb | LockedWheel, ...]:
        """Debs and wheels."""
        return (*self.debs, *self.wheels)


class Lock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file. `manifest`: checksum of the manifest's bytes."""

    format: int
    tool_version: Text
    manifest: DigestText
    stacks: tuple[LockedStack, ...]
    images: tuple[LockedImage, ...] = ()


def make_lock(file: ManifestFile, images: Iterable[LockedImage] = ()) -> Lock:
    """The lock of a manifest, from this version's stacks and the images that were resolved.

    Raises:
        StackUnknown: the manifest names a stack that there is not.
    """
    names = dict.fromkeys(file.manifest.targets.stacks)
    return Lock(
        format=_FORMAT,
        tool_version=__version__,
        manifest=str(file.digest),
        stacks=tuple(_locked(get_stack(name)) for name in names),
        images=tuple(sorted(images, key=lambda image: (image.stack, image.platform))),
    )


def check_fields(image: LockedImage) -> None:
    """Check that every field of an image is fit for a lock: the sources gave them.

    Raises:
        LockInvalid: one is not; the message names the entry.
    """
    table = msgspec.to_builtins(image)
    try:
        msgspec.convert(table, LockedImage)
    except msgspec.ValidationError as exc:
        raise LockInvalid(
            f"the package sources give what no lock may hold: {describe_fault(table, exc)}; take "
            "the package from another source"
        ) from exc


def load_lock(path: Path) -> Lock | None:
    """Read a lock; `None` when there is none.

    Args:
        path: the file, or the project folder that may hold it.

    Raises:
        LockInvalid: it cannot be read, or does not follow its format; the message names the entry.
    """
    file = path / LOCK_NAME if path.name != LOCK_NAME and path.is_dir() else path
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise LockInvalid(f"cannot read {file}: {exc.strerror}; correct its permissions") from exc
    again = "write it again: enginecrate lock"
    try:
        table = msgspec.toml.decode(data)
        found = table.get("format")
        if found != _FORMAT:
            raise LockInvalid(
                f"{file} has format {found!r}, and this version reads {_FORMAT}; use the version "
                f"of enginecrate that wrote it, or {again}"
            )
        lock = msgspec.convert(table, Lock)
    except msgspec.ValidationError as exc:
        raise LockInvalid(f"{file} is not a lock: {describe_fault(table, exc)}; {again}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise LockInvalid(f"{file} is not a lock: {exc}; {again}") from exc
    if repeated := _repeated(lock):
        raise LockInvalid(f"{file} is not a lock: {repeated}, more than once; {again}")
    return lock


def check_lock(file: ManifestFile) -> Lock | None:
    """The lock beside a manifest, when it is sound and belongs to it; `None` when there is none.

    Raises:
        LockInvalid: it cannot be read, or does not follow its format.
        LockStale: the manifest, or the data of a stack, has changed since it was written.
        StackUnknown: the manifest names a stack that there is not.
    """
    path = file.root / LOCK_NAME
    lock = load_lock(path)
    if lock is None:
        return None
    cure = (
        "write the lock again with `enginecrate lock`, look at what changed, and keep it with the "
        "project"
    )
    if lock.manifest != file.digest:
        raise LockStale(
            f"{path} was written for another {file.path.name}: it names {lock.manifest}, and the "
            f"manifest is {file.digest}; {cure}"
        )
    fresh = {stack.name: stack for stack in make_lock(file).stacks}
    for name in sorted(fresh.keys() | {stack.name for stack in lock.stacks}):
        locked = next((stack for stack in lock.stacks if stack.name == name), None)
        if locked != fresh.get(name):
            raise LockStale(f"{path}: {_difference(name, locked, fresh.get(name))}; {cure}")
    return lock


def render_lock(lock: Lock) -> bytes:
    """A lock as canonical TOML: the same lock gives the same bytes."""
    return ("\n".join(_lines(lock)) + "\n").encode()


def _locked(stack: Stack) -> LockedStack:
    packages = sorted(stack.packages, key=lambda package: package.name)
    return LockedStack(
        name=stack.name,
        digest=str(stack.digest),
        platforms=stack.platforms,
        minimum_driver=stack.minimum_driver,
        versions=dict(sorted(stack.versions.items())),
        packages=tuple(LockedPackage(name=one.name, version=one.version) for one in packages),
    )


def _repeated(lock: Lock) -> str:
    """What a lock has twice, and must have once: the second would take the first one's place."""
    images: set[tuple[str, str]] = set()
    for image in lock.images:
        where = f"{image.stack} for {image.platform}"
        if (image.stack, image.platform) in images:
            return f"it has the image of {where}"
        images.add((image.stack, image.platform))
        files: set[str] = set()
        for package in image.packages:
            if package.file in files:
                return f"its image of {where} has {package.file}"
            files.add(package.file)
    return ""


def _difference(name: str, locked: LockedStack | None, fresh: LockedStack | None) -> str:
    if locked is None or fresh is None:
        return f"the stack {name} is {'missing' if locked is None else 'not a target any more'}"
    if locked.digest != fresh.digest:
        return (
            f"the stack {name} has changed since: the lock names {locked.digest}, and "
            f"enginecrate {__version__} has {fresh.digest}"
        )
    return f"what it says of the stack {name} was changed by hand"


def _lines(lock: Lock) -> Iterator[str]:
    yield "# Written by `enginecrate lock`. Keep it with the project, and do not edit it."
    yield f"format = {lock.format}"
    yield f"tool_version = {_text(lock.tool_version)}"
    yield f"manifest = {_text(lock.manifest)}"
    for stack in lock.stacks:
        yield from ("", "[[stacks]]")
        yield f"name = {_text(stack.name)}"
        yield f"digest = {_text(stack.digest)}"
        yield f"platforms = {_list(stack.platforms)}"
        yield f"minimum_driver = {_text(stack.minimum_driver)}"
        yield from ("", "[stacks.versions]")
        yield from (f"{name} = {_text(version)}" for name, version in stack.versions.items())
        for package in stack.packages:
            yield from ("", "[[stacks.packages]]")
            yield f"name = {_text(package.name)}"
            yield f"version = {_text(package.version)}"
    for image in lock.images:
        yield from _image_lines(image)


def _image_lines(image: LockedImage) -> Iterator[str]:
    """One package a line, so that a difference of two locks shows what changed."""
    yield from ("", "[[images]]")
    for name in ("stack", "platform", "base", "interpreter", "compression", "inputs"):
        yield f"{name} = {_text(getattr(image, name))}"
    for name in ("debs", "wheels"):
        yield f"{name} = ["
        yield from (f"  {_inline(package)}," for package in getattr(image, name))
        yield "]"


def _inline(package: msgspec.Struct) -> str:
    """A package as an inline table; both text and numbers are written as in JSON."""
    pairs = msgspec.structs.asdict(package).items()
    fields = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in pairs)
    return f"{{ {', '.join(fields)} }}"


def _list(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """A basic string of TOML, which JSON's strings are, too."""
    return json.dumps(text, ensure_ascii=False)
