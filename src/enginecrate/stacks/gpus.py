"""GPUs that customers own, by name and alias: a data file, read and checked.

An alias for a GPU is added in `data/gpus.toml`; `get_gpu` finds a GPU by its name or its aliases.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from enginecrate.errors import GpuUnknown, StackDataInvalid, nearest
from enginecrate.stacks.catalog import Source
from enginecrate.values import ComputeCapability, GpuModel

__all__ = ["capability_of", "get_gpu", "load_gpus"]

_BRANDS = {"nvidia", "geforce", "tesla"}
_FILE = Path(__file__).parent / "data" / "gpus.toml"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    gpus: tuple[GpuModel, ...]
    sources: tuple[Source, ...]
    unverified: tuple[str, ...]


@cache
def load_gpus() -> Mapping[str, GpuModel]:
    """Every GPU by name. Raises `StackDataInvalid`."""
    try:
        file = msgspec.toml.decode(_FILE.read_bytes(), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StackDataInvalid(f"{_FILE}: {exc}") from exc
    return {gpu.name: gpu for gpu in file.gpus}


def get_gpu(name: str) -> GpuModel:
    """The GPU of this name or alias; upper and lower case are the same.

    Raises:
        GpuUnknown: the message suggests the nearest name.
    """
    asked = _plain(name)
    gpus = load_gpus()
    for gpu in gpus.values():
        if asked in map(_plain, (gpu.name, *gpu.aliases)):
            return gpu
    raise GpuUnknown(
        f"there is no GPU {name!r}{nearest(name, gpus)}; `enginecrate stacks --gpus` lists all; "
        "a compute capability such as 8.6 is fine, too"
    )


def capability_of(name: str) -> ComputeCapability:
    """The compute capability of a GPU by name, or as it is written (`8.6`, `sm86`).

    Raises:
        GpuUnknown: neither.
    """
    try:
        return ComputeCapability.parse(name)
    except ValueError:
        return get_gpu(name).compute_capability


def _plain(name: str) -> str:
    """`NVIDIA GeForce RTX 4090` and `rtx4090` are the same GPU."""
    words = name.lower().replace("-", " ").replace("_", " ").split()
    return "".join(word for word in words if word not in _BRANDS)
