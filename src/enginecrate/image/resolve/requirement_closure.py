"""The closure of requirements: the wheels that follow from them on the target.

pip judges the markers of dependencies (`platform_machine == "aarch64"`) by the machine that it runs
on. Here they are judged by the machine that the image is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from enginecrate.errors import MissingExtra, RecipeInvalid
from enginecrate.values import canonical_name

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Candidate", "RequirementClosure", "applies", "close_requirements", "parse_requirement"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A wheel that pip chose. `requires`: its dependencies as it states them."""

    name: str
    version: str
    file: str
    sha256: str
    requires: tuple[str, ...] = ()


@dataclass(slots=True)
class RequirementClosure:
    """needed: names of the wheels that are needed; missing: requirements that no wheel meets."""

    needed: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)


def close_requirements(
    roots: Sequence[str],
    candidates: Mapping[str, Candidate],
    environment: Mapping[str, str],
    replaced: Mapping[str, str],
) -> RequirementClosure:
    """Follow the dependencies from the roots.

    Args:
        roots: requirements.
        candidates: by canonical name.
        environment: the target's (`Target.environment`).
        replaced: names of packages that another one stands for.
    """
    closure = RequirementClosure()
    waiting = [(text, frozenset[str]()) for text in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        text, extras = waiting.pop()
        requirement = parse_requirement(text)
        if not applies(requirement, environment, extras):
            continue
        name = canonical_name(requirement.name)
        name = replaced.get(name, name)
        key = (name, frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        if name not in candidates:
            closure.missing.append(text)
            continue
        closure.needed.add(name)
        waiting += [(inner, key[1]) for inner in candidates[name].requires]
    return closure


def applies(
    requirement: Requirement, environment: Mapping[str, str], extras: Iterable[str] = ()
) -> bool:
    """True if a requirement counts on a target, when it was asked for with these extras."""
    marker = requirement.marker
    if marker is None:
        return True
    return any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def parse_requirement(text: str) -> Requirement:
    """A requirement. Raises `RecipeInvalid`."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError as exc:
        raise MissingExtra("packaging", extra="image") from exc
    try:
        return Requirement(text)
    except InvalidRequirement as exc:
        raise RecipeInvalid(f"{text!r} is not a Python requirement: {exc}") from exc
