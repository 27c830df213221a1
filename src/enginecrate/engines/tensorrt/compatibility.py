"""The check of a plan's sidecar against this machine, before any library sees the plan.

Rules: TensorRT documentation, "Version Compatibility" and "Hardware Compatibility".
"""

from __future__ import annotations

from collections.abc import Iterator

from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.errors import PlanMismatch
from enginecrate.values import ComputeCapability, PlanInfo

__all__ = ["check_plan", "runs_on"]

_AMPERE = ComputeCapability(8, 0)


def check_plan(
    info: PlanInfo, library: Library, platform: str, capability: ComputeCapability, gpu: str
) -> None:
    """Compare a sidecar with what is here.

    Args:
        info: the sidecar.
        library: that would load the plan.
        platform: of this machine, as `linux/amd64`.
        capability: of the GPU that would run it.
        gpu: its name, for people.

    Raises:
        PlanMismatch: the message lists everything that does not match, and what to do.
    """
    wrong = list(_mismatches(info, library, platform, capability, gpu))
    if wrong:
        raise PlanMismatch(f"the plan {'; '.join(wrong)}; build it for this machine")


def runs_on(info: PlanInfo, capability: ComputeCapability) -> bool:
    """True when the plan's sidecar allows a GPU of this compute capability."""
    try:
        built = ComputeCapability.parse(info.device)
    except ValueError:
        return False
    if built == capability:  # what `same_compute_capability` promises of other models, too
        return True
    return info.hardware_compatibility == "ampere_plus" and min(built, capability) >= _AMPERE


def _mismatches(
    info: PlanInfo, library: Library, platform: str, capability: ComputeCapability, gpu: str
) -> Iterator[str]:
    if info.backend != library.name:
        yield f"was built for {info.backend}, here is {library.name}"
    elif not _version_fits(info, library):
        compatible = " and later versions of TensorRT" if info.version_compatible else ""
        yield (
            f"was built by {info.backend} {info.backend_version} for this version{compatible}, "
            f"here is {library.version}"
        )
    if info.platform != platform:
        yield f"was built for {info.platform}, here is {platform}"
    if not runs_on(info, capability):
        also = " and other GPUs from Ampere on" * (info.hardware_compatibility == "ampere_plus")
        yield f"was built for {info.device}{also}, here is {capability.sm} ({gpu})"


def _version_fits(info: PlanInfo, library: Library) -> bool:
    if info.backend_version == library.version:
        return True
    if not (info.version_compatible and library.can.version_compatible):
        return False
    return _numbers(info.backend_version) <= _numbers(library.version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
