"""A build of something else than the manifest says: for trying things out on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from enginecrate.builder.project.project import Project
from enginecrate.errors import UsageError, nearest
from enginecrate.graph.typed import QUANTISED
from enginecrate.values import Precision

__all__ = ["select"]

_PRECISIONS = tuple(one.value for one in Precision if one is not Precision.MIXED)


def select(
    project: Project,
    *,
    stacks: Sequence[str] = (),
    gpus: Sequence[str] = (),
    precisions: Sequence[str] = (),
) -> Project:
    """The project with other targets; what is empty stays as the manifest has it.

    Args:
        project: that was opened.
        stacks: in place of `targets.stacks`.
        gpus: in place of `targets.gpus`.
        precisions: the first in place of `precision.mode`, all in place of `targets.precisions`.

    Raises:
        UsageError: an unknown precision, or one that needs calibration photos and has none.
    """
    manifest = project.manifest
    targets = msgspec.structs.replace(
        manifest.targets,
        stacks=tuple(stacks) or manifest.targets.stacks,
        gpus=tuple(gpus) or manifest.targets.gpus,
        precisions=tuple(precisions) or manifest.targets.precisions,
    )
    precision = manifest.precision
    if precisions:
        _check(precisions, calibrated=precision.calibration is not None)
        precision = msgspec.structs.replace(precision, mode=precisions[0])
    manifest = msgspec.structs.replace(manifest, targets=targets, precision=precision)
    return replace(project, file=replace(project.file, manifest=manifest))


def _check(precisions: Sequence[str], *, calibrated: bool) -> None:
    for name in precisions:
        if name not in _PRECISIONS:
            raise UsageError(
                f"there is no precision {name!r}{nearest(name, _PRECISIONS)}; "
                f"there are: {', '.join(_PRECISIONS)}"
            )
        if name in QUANTISED and not calibrated:
            raise UsageError(
                f"{name} needs photos to calibrate with: name their folder in the manifest, "
                '[precision] calibration = { images = "calibration/" }'
            )
