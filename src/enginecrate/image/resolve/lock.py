"""The lock of a project: the images of its stacks are resolved, on the platforms asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from enginecrate.errors import EnginecrateError, LockStale, RecipeInvalid, StackUnsupported, nearest
from enginecrate.image.resolve.artifacts import ArtifactCache
from enginecrate.image.resolve.images import resolve_image, unchanged
from enginecrate.image.resolve.target import ALL_PLATFORMS, PLATFORMS
from enginecrate.manifest import ManifestFile
from enginecrate.stacks.catalog import Stack, get_stack
from enginecrate.stacks.lock import Lock, LockedImage, make_lock
from enginecrate.values import Progress, current_platform, no_progress

__all__ = ["LockResolution", "Refusal", "lock_versions", "resolve_lock"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An image that cannot be resolved here, and the reason.

    kept: the lock still has it as it was, since the same things are asked for.
    """

    stack: str
    platform: str
    error: EnginecrateError
    kept: bool = False


@dataclass(frozen=True, slots=True)
class LockResolution:
    """A lock, and what it lacks, or has only as it was."""

    lock: Lock
    refused: tuple[Refusal, ...] = ()


def lock_versions(file: ManifestFile, previous: Lock | None) -> LockResolution:
    """The lock with the stacks' versions, and those images that still are what is asked for.

    No source is asked. Images that were resolved for something else are in the result as refused.

    Raises:
        StackUnknown: the manifest names a stack that there is not.
    """
    images, refused = [], []
    for image in previous.images if previous else ():
        if image.stack not in file.manifest.targets.stacks:
            continue
        error: EnginecrateError = LockStale(
            "it was resolved for other requirements than the manifest has now; resolve it with: "
            f"enginecrate lock --stack {image.stack} --platform {image.platform}"
        )
        try:
            same = unchanged(image, file.manifest)
        except RecipeInvalid as exc:
            same, error = None, exc
        if same:
            images.append(same)
        else:
            refused.append(Refusal(image.stack, image.platform, error))
    return LockResolution(make_lock(file, images), tuple(refused))


def resolve_lock(
    file: ManifestFile,
    previous: Lock | None,
    *,
    cache: ArtifactCache,
    stacks: Sequence[str] = (),
    platforms: Sequence[str] = (),
    upgrade: bool = False,
    fetch: bool = True,
    progress: Progress = no_progress,
) -> LockResolution:
    """The lock of a project with its images.

    Args:
        file: the manifest.
        previous: the lock so far: its images stay where nothing else is asked for.
        cache: keeps the packages; its sources are asked.
        stacks: of the manifest's targets; default: all. The images of others stay as they are.
        platforms: as `linux/amd64`, or `all`; default: this machine's, and those that are locked
            already. A stack that does not run here: all of its own.
        upgrade: take the newest versions.
        fetch: as for `resolve_image`.
        progress: called step by step.

    Raises:
        RecipeInvalid: a stack or platform that is no target; otherwise as `resolve_image`.
        SourceUnavailable: as `resolve_image`. Stacks whose packages their vendor alone has are not
            an error: they are in the result as refused, and the rest is locked. An image that is
            locked already, and for the same, is kept then.
    """
    before = {(one.stack, one.platform): one for one in (previous.images if previous else ())}
    targets = tuple(_targets(file, stacks, platforms, before))
    images = _others(file, before, targets)
    refused = []
    for stack, platform in targets:
        earlier = before.get((stack.name, platform))
        try:
            images.append(resolve_image(
                stack, platform, file.manifest,
                cache=cache, previous=earlier, upgrade=upgrade, fetch=fetch, progress=progress,
            ))  # fmt: skip
        except (StackUnsupported, RecipeInvalid) as exc:
            if stack.installable:
                raise
            # Of a manifest that is wrong itself, nothing can be the same.
            wrong = isinstance(exc, RecipeInvalid)
            same = unchanged(earlier, file.manifest) if earlier and not wrong else None
            images += [same] if same else []
            refused.append(Refusal(stack.name, platform, exc, kept=same is not None))
    return LockResolution(make_lock(file, images), tuple(refused))


def _targets(
    file: ManifestFile,
    stacks: Sequence[str],
    platforms: Sequence[str],
    before: Collection[tuple[str, str]],
) -> Iterator[tuple[Stack, str]]:
    known = tuple(dict.fromkeys(file.manifest.targets.stacks))
    _check("stack", stacks, known, f"a target of {file.path.name}")
    known_platforms = (*PLATFORMS, ALL_PLATFORMS)
    _check("platform", platforms, known_platforms, "a platform that images are made for")
    targets = [
        (stack, platform)
        for stack in map(get_stack, stacks or known)
        for platform in _platforms(stack, platforms, before)
    ]
    if not targets:
        raise RecipeInvalid(
            f"none of {', '.join(stacks or known)} runs on {', '.join(platforms)}; `enginecrate "
            "stacks` lists the platforms of each"
        )
    yield from targets


def _platforms(
    stack: Stack, wanted: Sequence[str], before: Collection[tuple[str, str]]
) -> list[str]:
    """The platforms of a stack that are locked now."""
    known = [platform for platform in stack.platforms if platform in PLATFORMS]
    if ALL_PLATFORMS in wanted:
        return known
    if wanted:
        return [platform for platform in known if platform in wanted]
    own = current_platform()
    default = [one for one in known if one == own or (stack.name, one) in before]
    return default or known


def _check(what: str, named: Sequence[str], known: Sequence[str], meaning: str) -> None:
    for name in named:
        if name not in known:
            raise RecipeInvalid(
                f"the {what} {name!r} is not {meaning}{nearest(name, known)}; there are: "
                f"{', '.join(known)}"
            )


def _others(
    file: ManifestFile,
    before: dict[tuple[str, str], LockedImage],
    targets: Sequence[tuple[Stack, str]],
) -> list[LockedImage]:
    """Images of the lock so far that were not chosen now, and still are targets."""
    chosen = {(stack.name, platform) for stack, platform in targets}
    return [
        image
        for key, image in before.items()
        if key not in chosen and image.stack in file.manifest.targets.stacks
    ]
