"""Requirements of an image: this machine meets them, or a sentence says why it cannot start it."""

from __future__ import annotations

from dataclasses import dataclass

from enginecrate.errors import ImageInvalid
from enginecrate.image.recipe.annotations import Requirements, read_requirements
from enginecrate.release.content.image import OpenedImage, OpenedPlatform
from enginecrate.stacks.machine.devices import probe_nvidia
from enginecrate.stacks.versions import at_least
from enginecrate.values import current_platform

__all__ = ["Startable", "startable_here"]


@dataclass(frozen=True, slots=True)
class Startable:
    """The platform of an image that this machine starts. gpus: it needs the machine's GPUs."""

    platform: OpenedPlatform
    gpus: bool = False


def startable_here(image: OpenedImage) -> Startable | str:
    """The part of an image that starts here; else a sentence that says why nothing does.

    An image for GPUs is started only where it gets a GPU that it runs on, with a driver that is new
    enough: otherwise it would never be ready, which says nothing about the image. The GPU that
    serves is the first one of the machine, since a container is given all of them.
    """
    platform = _platform_here(image)
    if platform is None:
        return f"the image is not for this machine ({current_platform()})"
    needs = _needs(platform)
    if needs is None or not needs.compute_capabilities:
        return Startable(platform)
    here = probe_nvidia()
    if not here.gpus:
        return "the image is for GPUs, and this machine has none that can be used"
    first = here.gpus[0].compute_capability
    if first not in needs.compute_capabilities:
        needed = ", ".join(map(str, dict.fromkeys(needs.compute_capabilities)))
        return (
            f"the image is for GPUs of compute capability {needed}, and the first one of this "
            f"machine has {first}"
        )
    if not _is_new_enough(here.driver, needs.minimum_driver):
        return (
            f"the image needs the NVIDIA driver {needs.minimum_driver}, and this machine has "
            f"{here.driver or 'none'}"
        )
    return Startable(platform, gpus=True)


def _platform_here(image: OpenedImage) -> OpenedPlatform | None:
    """The platform of an image that this machine's processor runs."""
    here = current_platform().split("/")
    return next((one for one in image.platforms if one.platform.split("/")[:2] == here), None)


def _needs(platform: OpenedPlatform) -> Requirements | None:
    """The requirements in its labels; `None`: there are none that can be read."""
    try:
        return read_requirements(platform.config.config.labels)
    except ImageInvalid:
        return None


def _is_new_enough(driver: str, minimum: str) -> bool:
    """True also when one of them cannot be read: the start shows it."""
    try:
        return not minimum or at_least(driver, minimum)
    except ValueError:
        return True
