"""The file of a lock: made for a manifest, read, and checked against the manifest and the stacks.

It holds the checksum of what the manifest asks of it (stacks, base, packages, compression), and of
each stack's data. When either has changed, the lock is stale, and that is an error: nothing goes on
with versions that were not chosen. A comment, or a key that no package follows from, leaves it
current.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from enginecrate.errors import LockInvalid, LockStale
from enginecrate.manifest import Image, Manifest, ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock.schema import (
    Lock,
    LockedImage,
    LockedPackage,
    LockedStack,
    describe_fault,
)
from enginecrate.values import Digest
from enginecrate.version import __version__

__all__ = ["LOCK_NAME", "asked_digest", "check_lock", "load_lock", "make_lock"]

LOCK_NAME = "enginecrate.lock"

_FORMAT = 2


def make_lock(file: ManifestFile, images: Iterable[LockedImage] = ()) -> Lock:
    """The lock of a manifest, from this version's stacks and the images that were resolved.

    Raises:
        StackUnknown: the manifest names a stack that there is not.
    """
    names = dict.fromkeys(file.manifest.targets.stacks)
    return Lock(
        format=_FORMAT,
        tool_version=__version__,
        manifest=str(asked_digest(file.manifest)),
        stacks=tuple(_locked(get_stack(name)) for name in names),
        images=tuple(sorted(images, key=lambda image: (image.stack, image.platform))),
    )


def asked_digest(manifest: Manifest) -> Digest:
    """Checksum of the part of a manifest that a lock depends on."""
    section = manifest.image or Image()
    asked = {
        "stacks": sorted(set(manifest.targets.stacks)),
        "base": section.base,
        "base_image": section.base_image,
        "packages": sorted(set(section.packages)),
        "debs": sorted(set(section.debs)),
        "compression": section.compression,
    }
    return Digest.of(msgspec.json.encode(asked, order="sorted"))


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
        number = table.get("format")
        if number != _FORMAT:
            raise LockInvalid(
                f"{file} has format {number!r}, and this version reads {_FORMAT}; use the version "
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
    asked = asked_digest(file.manifest)
    # Earlier versions named the checksum of the manifest's bytes.
    if lock.manifest not in (asked, file.digest):
        raise LockStale(
            f"{path} was written for another {file.path.name}: targets.stacks or [image] asked for "
            f"something else ({lock.manifest}, and it is {asked}); {cure}"
        )
    fresh = {stack.name: stack for stack in make_lock(file).stacks}
    for name in sorted(fresh.keys() | {stack.name for stack in lock.stacks}):
        locked = next((stack for stack in lock.stacks if stack.name == name), None)
        if locked != fresh.get(name):
            raise LockStale(f"{path}: {_difference(name, locked, fresh.get(name))}; {cure}")
    return lock


def _locked(stack: Stack) -> LockedStack:
    packages = sorted(stack.packages, key=lambda package: package.name)
    return LockedStack(
        name=stack.name,
        digest=str(stack.digest),
        platforms=stack.platforms,
        minimum_driver=stack.minimum_driver,
        versions=dict(sorted(stack.versions.items())),
        packages=tuple(LockedPackage(name=each.name, version=each.version) for each in packages),
    )


def _repeated(lock: Lock) -> str:
    """An entry that a lock has twice: the second would replace the first. Empty: there is none."""
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
