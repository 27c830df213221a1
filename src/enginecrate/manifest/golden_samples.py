"""Golden samples as far as images and releases need to know: how many there are.

A sample is an entry of `golden.json`. Other files of the folder, such as a README, are none.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from enginecrate.files.encoding import utf8

__all__ = ["GOLDEN_NAME", "count_samples", "list_samples", "record_command"]

GOLDEN_NAME = "golden.json"


class _Listed(msgspec.Struct):
    input: str


class _File(msgspec.Struct):
    samples: tuple[_Listed, ...] = ()


def list_samples(data: bytes) -> tuple[str, ...]:
    """The inputs that the bytes of a `golden.json` name; none when these are malformed."""
    try:
        content = msgspec.json.decode(utf8(data), type=_File)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ()
    return tuple(one.input for one in content.samples)


def count_samples(folder: Path) -> int:
    """The number of golden samples in a folder; 0 when it has no `golden.json`."""
    try:
        return len(list_samples((folder / GOLDEN_NAME).read_bytes()))
    except OSError:
        return 0


def record_command(task: str) -> str:
    """The command that records golden samples of an app, with the kind of file that it takes."""
    return f"enginecrate golden record {'TENSORS.npz' if task == 'tensors' else 'PHOTO'}..."
