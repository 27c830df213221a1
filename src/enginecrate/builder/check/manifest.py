"""The check of a manifest against everything that it names: stacks, model, labels, photos, class.

All faults are found at once: what one fault spoils is left out, and the rest is examined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enginecrate.builder.check.fault import CheckFault, Key
from enginecrate.builder.check.files import path_faults, photo_faults
from enginecrate.builder.check.pipeline import decoder_faults, effect_faults, model_faults
from enginecrate.builder.check.targets import target_faults
from enginecrate.errors import EnginecrateError
from enginecrate.manifest import Draft, LocatedFault, Manifest, locate, missing_files, read_draft

__all__ = ["ManifestCheck", "check_manifest"]


@dataclass(frozen=True, slots=True)
class ManifestCheck:
    """The outcome. manifest: `None` when too little of it can be read."""

    draft: Draft
    faults: tuple[LocatedFault, ...]
    warnings: tuple[LocatedFault, ...]

    @property
    def manifest(self) -> Manifest | None:
        return self.draft.manifest


def check_manifest(path: Path, base_check: Callable[[str], object] | None = None) -> ManifestCheck:
    """Examine a manifest and what it names. Runs nothing but the vendor's own pipeline class.

    Args:
        path: the project folder, or its manifest.
        base_check: raises when `image.base` is unknown.

    Raises:
        ManifestNotFound: no such file.
        ManifestSyntax: not UTF-8, or not TOML.
    """
    draft = read_draft(path)
    found = [CheckFault(key, message) for key, message in draft.faults]
    if draft.manifest is not None:
        spoilt = {key for key, _ in draft.faults}
        root = draft.path.parent.absolute()
        for fault in _faults(draft.manifest, root, spoilt, base_check):
            if not any(_touches(fault.key, key) for key in spoilt):
                found.append(fault)
    located = [(fault.warning, _located(draft.text, fault)) for fault in dict.fromkeys(found)]
    located.sort(key=lambda one: (one[1].line, one[1].column))
    return ManifestCheck(
        draft,
        tuple(fault for warning, fault in located if not warning),
        tuple(fault for warning, fault in located if warning),
    )


def _touches(key: Key, spoilt: Key) -> bool:
    return key[: len(spoilt)] == spoilt


def _located(text: str, fault: CheckFault) -> LocatedFault:
    (located,) = locate(text, [(fault.key, fault.message)])
    return msgspec.structs.replace(located, code=fault.code)


def _faults(
    manifest: Manifest, root: Path, spoilt: set[Key], base_check: Callable[[str], object] | None
) -> Iterator[CheckFault]:
    missing = set()
    for key, message in missing_files(manifest, root):
        missing.add(key)
        yield CheckFault(key, message)
    yield from path_faults(manifest, root, missing | spoilt)
    yield from target_faults(manifest)
    absent = missing | spoilt
    yield from photo_faults(manifest, root, absent)
    if ("pipeline", "task") not in spoilt:
        yield from effect_faults(manifest)
        yield from decoder_faults(manifest.pipeline)
    if ("model", "path") not in absent and ("pipeline",) not in spoilt:
        yield from model_faults(manifest, root, absent)
    if manifest.image is not None and base_check is not None:
        try:
            base_check(manifest.image.base)
        except EnginecrateError as exc:
            yield CheckFault(("image", "base"), str(exc), exc.code)
