"""What the fields of a lock may hold.

A lock comes with a project that somebody else wrote, and its fields become names of files and words
of apt's and pip's command lines. So each has a narrow form, which is checked before anything is
used: a name is never a path, never an option, and never more than one line.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

__all__ = [
    "Architecture",
    "BaseName",
    "CompressionText",
    "DebFile",
    "DebName",
    "DebSource",
    "DebVersion",
    "DigestText",
    "InputsDigest",
    "Interpreter",
    "Platform",
    "Sha256",
    "Size",
    "StackName",
    "Text",
    "WheelFile",
    "WheelName",
    "WheelVersion",
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
