"""The check of a manifest against everything that it names: stacks, model, labels, photos, class.

All faults are found at once: what one fault spoils is left out, and the rest is examined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
            if not _touches(fault.key, spoilt):
                found.append(fault)
    return ManifestCheck(
        draft,
        _located(draft.text, [fault for fault in found if not fault.warning]),
        _located(draft.text, [fault for fault in found if fault.warning]),
    )


def _touches(key: Key, spoilt: set[Key]) -> bool:
    return any(key[:length] in spoilt for length in range(1, len(key) + 1))


def _located(text: str, faults: Iterable[CheckFault]) -> tuple[LocatedFault, ...]:
    """The faults with their places and codes, in the order of the text."""
    by_code: dict[str, list[tuple[Key, str]]] = {}
    for fault in dict.fromkeys(faults):
        by_code.setdefault(fault.code, []).append((fault.key, fault.message))
    located = [
        msgspec.structs.replace(fault, code=code)
        for code, pairs in by_code.items()
        for fault in locate(text, pairs)
    ]
    return tuple(sorted(located, key=lambda fault: (fault.line, fault.column)))


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
