"""Whether this machine can start an image, and with which of its devices."""

from __future__ import annotations

import platform as machine
from dataclasses import dataclass

from enginecrate.errors import ImageInvalid
from enginecrate.image.recipe.annotations import read_requirements
from enginecrate.release.opened import OpenedImage, OpenedPlatform
from enginecrate.stacks.devices import probe_gpus
from enginecrate.values import ComputeCapability

__all__ = ["Startable", "platform_here", "startable_here"]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Startable:
    """The platform of an image that this machine starts. gpus: it needs the machine's GPUs."""

    platform: OpenedPlatform
    gpus: bool = False


def startable_here(image: OpenedImage) -> Startable | str:
    """What of an image starts here; a sentence that says why nothing does.

    An image for GPUs is started only where a GPU is that it runs on: on a CPU it would never be
    ready, which says nothing about the image.
    """
    platform = platform_here(image)
    if platform is None:
        return f"the image is not for this machine ({_architecture()})"
    capabilities = _capabilities(platform)
    if not capabilities:
        return Startable(platform)
    here = tuple(gpu.compute_capability for gpu in probe_gpus())
    if not here:
        return "the image is for GPUs, and this machine has none that can be used"
    if not set(here) & set(capabilities):
        return (
            f"the image is for GPUs of compute capability {_listed(capabilities)}, and this "
            f"machine has {_listed(here)}"
        )
    return Startable(platform, gpus=True)


def platform_here(image: OpenedImage) -> OpenedPlatform | None:
    """The platform of an image that this machine's processor runs."""
    here = ["linux", _architecture()]
    return next((one for one in image.platforms if one.platform.split("/")[:2] == here), None)


def _capabilities(platform: OpenedPlatform) -> tuple[ComputeCapability, ...]:
    """Of the GPUs that it is for; empty: it needs none, or does not say."""
    try:
        return read_requirements(platform.config.config.labels).compute_capabilities
    except ImageInvalid:
        return ()


def _listed(capabilities: tuple[ComputeCapability, ...]) -> str:
    return ", ".join(map(str, dict.fromkeys(capabilities)))


def _architecture() -> str:
    return _ARCHITECTURES.get(machine.machine(), machine.machine())
