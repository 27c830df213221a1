"""The schema of a lock: its entries, and the form that each of their fields must have.

A lock comes with a project that somebody else wrote, and its fields become names of files and words
of apt's and pip's command lines. So each has a narrow form, which is checked before anything is
used: a name is never a path, never an option, and never more than one line.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from enginecrate.errors import LockInvalid

__all__ = [
    "Lock",
    "LockedDeb",
    "LockedImage",
    "LockedPackage",
    "LockedStack",
    "LockedWheel",
    "check_fields",
    "describe_fault",
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

_LOCATION = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SHOWN = 100


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
    """The whole file. `manifest`: checksum of what the manifest asks of it."""

    format: int
    tool_version: Text
    manifest: DigestText
    stacks: tuple[LockedStack, ...]
    images: tuple[LockedImage, ...] = ()


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


def describe_fault(table: Any, fault: msgspec.ValidationError) -> str:
    """A fault of a lock in words: the location, the entry and its value.

    Args:
        table: the lock's tables, which have the fault.
        fault: gives the location as a path, `$.images[0].debs[3].file`.
    """
    message = str(fault)
    location = _LOCATION.search(message)
    if location is None:
        return message
    value, entry = table, ""
    for key, index in _STEP.findall(location[1]):
        try:
            value = value[key] if key else value[int(index)]
        except (LookupError, TypeError, ValueError):
            return message
        if isinstance(value, dict):
            entry = str(value.get("name") or value.get("stack") or "")[:_SHOWN]
    of = f" (of {entry!r})" if entry else ""
    return f"{location[1]}{of} is {repr(value)[:_SHOWN]}: {message[: location.start()]}"
