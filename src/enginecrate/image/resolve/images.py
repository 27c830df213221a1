"""Resolve an image: from what the manifest and the stack ask for to files with checksums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from enginecrate.errors import LockStale, SourceUnavailable, StackUnsupported
from enginecrate.image.layers.compression import Compression
from enginecrate.image.resolve.artifacts import ArtifactCache
from enginecrate.image.resolve.bases import Base, base_of
from enginecrate.image.resolve.requirement_closure import Candidate, close_requirements
from enginecrate.image.resolve.requirements import PythonRequirements, requirements_of
from enginecrate.image.resolve.target import Target
from enginecrate.image.resolve.wheel_index import WheelIndex
from enginecrate.manifest import Image, Manifest
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import Lock, LockedDeb, LockedImage, LockedWheel, check_fields
from enginecrate.values import Digest, Progress, no_progress

__all__ = [
    "check_images",
    "image_section",
    "inputs_digest",
    "resolve_image",
    "unchanged",
]

_ROUNDS = 4
"""The most times that pip is asked again for what follows from the target alone."""


def image_section(manifest: Manifest) -> Image:
    """`[image]` of a manifest, or its defaults."""
    return manifest.image or Image()


def resolve_image(
    stack: Stack,
    platform: str,
    manifest: Manifest,
    *,
    cache: ArtifactCache,
    previous: LockedImage | None = None,
    upgrade: bool = False,
    fetch: bool = True,
    progress: Progress = no_progress,
) -> LockedImage:
    """Resolve what the image of a stack is made of on a platform.

    Args:
        stack: the stack.
        platform: `linux/amd64` or `linux/arm64`.
        manifest: its `[image]` section asks for more.
        cache: keeps the files; its sources are asked.
        previous: the image in the lock so far. While the same things are asked for, it stays as it
            is and no source is asked; else the versions that it names are kept.
        upgrade: take the newest versions instead.
        fetch: fetch the files, too, which gives the wheels' sizes; else sizes may be 0.
        progress: called step by step.

    Raises:
        RecipeInvalid: what is asked for does not fit together.
        SourceUnavailable: a source cannot be reached, or lacks a package.
        StackUnsupported: the stack's packages are at its vendor's, and were not found here.
        LockInvalid: a source gives a name, version or file that is none.
        ArtifactMissing, ArtifactChanged: as `ArtifactCache.obtain_all`.
    """
    section = image_section(manifest)
    if previous is not None and not upgrade and (same := unchanged(previous, manifest)):
        return same
    if cache.sources.offline and not stack.installable:
        raise StackUnsupported(
            f"{stack.name} is not locked yet, and --offline forbids to look for its packages; run "
            "the command again without --offline"
        )
    kept = None if upgrade else previous
    base = base_of(stack, section)
    progress(f"resolve {stack.name} for {platform}", 0, 2)
    debs = _debs(base, stack, platform, section, cache, kept)
    target = Target(platform, _interpreter(base, debs), base.glibc)
    progress(f"resolve {stack.name} for {platform}", 1, 2)
    wheels = _wheels(stack, section, target, cache, kept)
    progress(f"resolve {stack.name} for {platform}", 2, 2)
    image = LockedImage(
        stack=stack.name,
        platform=platform,
        base=base.name,
        interpreter=target.interpreter,
        compression=str(Compression.here(section.compression)),
        inputs=inputs_digest(stack, platform, section),
        debs=debs,
        wheels=wheels,
    )
    check_fields(image)
    return _with_sizes(_compressed_as(image, section, kept), cache, previous, fetch, progress)


def unchanged(image: LockedImage, manifest: Manifest) -> LockedImage | None:
    """A locked image, if the same things are asked for now; needs no network.

    Only its compressor may be another one. Raises `StackUnknown` and `RecipeInvalid`, as
    `resolve_image`.
    """
    section = image_section(manifest)
    if image.inputs != inputs_digest(get_stack(image.stack), image.platform, section):
        return None
    return _compressed_as(image, section)


def inputs_digest(stack: Stack, platform: str, section: Image) -> str:
    """Checksum of all that is asked for; needs no network. Raises `RecipeInvalid`."""
    base = base_of(stack, section)
    requirements = _requirements(stack, section, Target(platform, f"{base.python}.0", base.glibc))
    asked: dict[str, Any] = {
        "base": str(base.digest),
        "base_image": section.base_image if base.vendor_image else "",
        "debs": () if base.vendor_image else base.wanted(section.debs),
        "platform": platform,
        "requirements": requirements.texts,
        "replaced": dict(requirements.replaced),
    }
    return str(Digest.of(msgspec.json.encode(asked, order="sorted")))


def check_images(lock: Lock, manifest: Manifest) -> None:
    """Check that the images of a lock are those that are asked for now; needs no network.

    Raises:
        LockStale: one was resolved for something else.
        StackUnknown, RecipeInvalid: as `resolve_image`.
    """
    for image in lock.images:
        wanted = inputs_digest(get_stack(image.stack), image.platform, image_section(manifest))
        if image.inputs != wanted:
            raise LockStale(
                f"the lock's image of {image.stack} for {image.platform} was resolved for other "
                f"requirements: {image.inputs or 'none'}, and they are {wanted}; write the lock "
                "again with `enginecrate lock`"
            )


def _debs(
    base: Base,
    stack: Stack,
    platform: str,
    section: Image,
    cache: ArtifactCache,
    kept: LockedImage | None,
) -> tuple[LockedDeb, ...]:
    if base.vendor_image:
        return ()
    wanted = base.wanted(section.debs)
    pins = {deb.name: deb.version for deb in kept.debs} if kept else {}
    debs = cache.sources.debs(platform).resolve(wanted, left_out=base.without(wanted), kept=pins)
    _check_version(base, debs, base.libc, base.glibc)
    _check_version(base, debs, base.interpreter, base.python)
    return debs


def _check_version(base: Base, debs: tuple[LockedDeb, ...], name: str, wanted: str) -> None:
    version = next((deb.version for deb in debs if deb.name == name), "none")
    if not version.startswith((f"{wanted}-", f"{wanted}.")):
        raise SourceUnavailable(
            f"apt's sources here give {name} {version}, and {base.name} has {wanted}: they are of "
            f"another distribution; name sources of {base.title} with --apt-sources FILE"
        )


def _interpreter(base: Base, debs: tuple[LockedDeb, ...]) -> str:
    """`3.11.2` for `3.11.2-6+deb12u6`; of a vendor's image, the least one."""
    for deb in debs:
        if deb.name == base.interpreter:
            return deb.version.rpartition(":")[2].partition("-")[0]
    return f"{base.python}.0"


def _wheels(
    stack: Stack,
    section: Image,
    target: Target,
    cache: ArtifactCache,
    kept: LockedImage | None,
) -> tuple[LockedWheel, ...]:
    wanted = _requirements(stack, section, target)
    pins = {
        wheel.name: wheel.version
        for wheel in (kept.wheels if kept else ())
        if wheel.name not in wanted.pinned
    }
    try:
        chosen = _complete(wanted, cache.sources.wheels(target), target, pins)
    except SourceUnavailable as exc:
        if stack.installable:
            raise
        raise StackUnsupported(
            f"{stack.name} needs packages that its vendor alone has: {exc}. {stack.note}"
        ) from exc
    return tuple(
        LockedWheel(name=one.name, version=one.version, file=one.file, sha256=one.sha256, size=0)
        for one in chosen
    )


def _complete(
    wanted: PythonRequirements, index: WheelIndex, target: Target, pins: Mapping[str, str]
) -> list[Candidate]:
    """Ask pip until nothing is missing on the target; drop what only this machine would need."""
    texts = list(wanted.texts)
    for _ in range(_ROUNDS):
        candidates = {one.name: one for one in index.resolve(texts, kept=pins)}
        closure = close_requirements(texts, candidates, target.environment, wanted.replaced)
        if not closure.missing:
            return [candidates[name] for name in sorted(closure.needed)]
        texts += [text.partition(";")[0].strip() for text in closure.missing]
    raise SourceUnavailable(
        f"pip leaves out {', '.join(closure.missing)}, which {target.platform} needs; name the "
        "packages in enginecrate.toml: [image] packages"
    )


def _requirements(stack: Stack, section: Image, target: Target) -> PythonRequirements:
    return requirements_of(stack, section, target.environment)


def _compressed_as(
    image: LockedImage, section: Image, kept: LockedImage | None = None
) -> LockedImage:
    """Keep the compressor of the lock so far, unless the manifest asks for another."""
    before = (kept or image).compression
    if before.partition(" ")[0] == section.compression:
        return msgspec.structs.replace(image, compression=before)
    return msgspec.structs.replace(image, compression=str(Compression.here(section.compression)))


def _with_sizes(
    image: LockedImage,
    cache: ArtifactCache,
    previous: LockedImage | None,
    fetch: bool,
    progress: Progress,
) -> LockedImage:
    known = {wheel.sha256: wheel.size for wheel in (previous.wheels if previous else ())}
    if fetch:
        files = cache.obtain_all(image, progress)
        known = {wheel.sha256: files[wheel.sha256].stat().st_size for wheel in image.wheels}
    wheels = tuple(
        msgspec.structs.replace(wheel, size=known.get(wheel.sha256, 0)) for wheel in image.wheels
    )
    return msgspec.structs.replace(image, wheels=wheels)
