"""The catalog of stacks: data files, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from enginecrate.errors import StackDataInvalid, StackUnknown, nearest
from enginecrate.values import ComputeCapability, Digest, Precision

__all__ = ["Package", "Rung", "Source", "Stack", "get_stack", "load_stacks"]

_DATA = Path(__file__).parent / "data"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The source of a fact: a web page, or a package as a package URL (`pkg:pypi/...`)."""

    fact: str
    url: str


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step of a stack's engine ladder, best first.

    precisions: that this backend runs well on this device.
    """

    backend: Literal["tensorrt", "tensorrt_rtx", "onnxruntime"]
    device: Literal["gpu", "cpu"]
    precisions: tuple[Precision, ...]


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Python package of a stack with its one version."""

    name: str
    version: str


class Stack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named, tested set of versions.

    versions: of what is inside, by name: `cuda`, `cudnn`, `tensorrt`, `tensorrt_rtx`,
        `onnxruntime`, `nccl`, `python`, `jetpack`.
    minimum_driver: least NVIDIA driver on Linux; empty for stacks without a GPU, and where the
        driver is a part of the system (Jetson).
    toolkit_driver: the driver that came with this CUDA; below it CUDA's minor-version compatibility
        applies. Empty when it is the least one.
    compute_capabilities: on which its GPU rungs run; `unconfirmed`: those of them that its maker's
        documents disagree about, and that were never run yet.
    build_anywhere: whether plans for a GPU can be built on a machine without it.
    installable: whether its packages come from the Python package index alone; else `note` says
        where they come from.
    sources: where the facts come from, one address for each.
    unverified: facts that no document at hand and no run of ours confirms, each a sentence.
    """

    name: str
    title: str
    platforms: tuple[str, ...]
    versions: dict[str, str]
    packages: tuple[Package, ...]
    minimum_driver: str = ""
    toolkit_driver: str = ""
    compute_capabilities: tuple[ComputeCapability, ...] = ()
    unconfirmed: tuple[ComputeCapability, ...] = ()
    rungs: tuple[Rung, ...]
    build_anywhere: bool
    installable: bool
    note: str = ""
    sources: tuple[Source, ...]
    unverified: tuple[str, ...] = ()

    @property
    def is_gpu(self) -> bool:
        """True when its best engine runs on a GPU."""
        return self.rungs[0].device == "gpu"

    @property
    def digest(self) -> Digest:
        """The digest of its facts: versions, packages, GPUs, drivers and rungs, and no words."""
        facts = msgspec.structs.asdict(self)
        for name in ("title", "note", "sources", "unverified"):
            del facts[name]
        return Digest.of(msgspec.json.encode(facts, order="sorted"))


def get_stack(name: str) -> Stack:
    """The stack of this name. Raises `StackUnknown`, which suggests the nearest."""
    stacks = load_stacks()
    try:
        return stacks[name]
    except KeyError:
        raise StackUnknown(
            f"there is no stack {name!r}{nearest(name, stacks)}; `enginecrate stacks` lists all"
        ) from None


@cache
def load_stacks() -> Mapping[str, Stack]:
    """Every stack by name, in the order of the file names. Raises `StackDataInvalid`."""
    stacks: dict[str, Stack] = {}
    for file in sorted((_DATA / "stacks").glob("*.toml")):
        stack = _read(file)
        if stack.name != file.stem:
            raise StackDataInvalid(f"{file} describes the stack {stack.name!r}; rename one of them")
        stacks[stack.name] = stack
    return stacks


def _read(file: Path) -> Stack:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Stack)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StackDataInvalid(f"{file}: {exc}") from exc
