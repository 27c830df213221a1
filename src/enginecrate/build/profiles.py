"""Check the optimization profiles of the manifest against the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from enginecrate.errors import ManifestInvalid, nearest
from enginecrate.graph.model import OnnxModel
from enginecrate.manifest import Manifest
from enginecrate.values import Profile

__all__ = ["check_profiles"]

Shape = tuple[int, ...]


def check_profiles(manifest: Manifest, path: Path, model: OnnxModel) -> tuple[Profile, ...]:
    """The profiles as the backends take them.

    Args:
        manifest: with profiles whose shapes grow already (the manifest's own check).
        path: of the manifest, for messages.
        model: whose inputs the profiles must fit.

    Raises:
        ManifestInvalid: the message lists every shape that does not fit the model.
    """
    profiles = [
        {
            name: (tuple(low), tuple(best), tuple(high))
            for name, (low, best, high) in section.items()
        }
        for section in manifest.model.profiles
    ]
    faults = [
        f"  model.profiles[{number}]: {fault}"
        for number, profile in enumerate(profiles)
        for fault in _faults(profile, model)
    ]
    if faults:
        raise ManifestInvalid("\n".join([f"{path}: profiles do not fit the model", *faults]))
    return tuple(profiles)


def _faults(profile: Profile, model: OnnxModel) -> Iterator[str]:
    specs = {spec.name: spec for spec in model.inputs}
    for name, shapes in profile.items():
        if name not in specs:
            yield (
                f"the model has no input {name!r}{nearest(name, specs)}; "
                f"its inputs are: {', '.join(specs)}"
            )
            continue
        wrong = [shape for shape in shapes if not _fits(shape, specs[name].shape)]
        if wrong:
            yield f"{list(wrong[0])} does not fit the input {specs[name]} (-1: any size)"
    for name, spec in specs.items():
        if -1 in spec.shape and name not in profile:
            yield f"the input {spec} has dynamic dimensions, and the profile does not name it"


def _fits(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(
        want in (-1, have) for have, want in zip(shape, wanted, strict=True)
    )
