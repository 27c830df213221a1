"""The Python packages that an image asks for: the server's own, the stack's, the manifest's."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass

from enginecrate.errors import RecipeInvalid
from enginecrate.image.resolve.requirement_closure import applies, parse_requirement
from enginecrate.manifest import Image
from enginecrate.stacks.catalog import Stack
from enginecrate.stacks.machine.libraries import SAME_MODULE
from enginecrate.values import canonical_name

__all__ = ["PythonRequirements", "requirements_of"]


@dataclass(frozen=True, slots=True)
class PythonRequirements:
    """texts: as in a requirements file, sorted; replaced: packages that another one stands for."""

    texts: tuple[str, ...]
    replaced: Mapping[str, str]

    @property
    def pinned(self) -> set[str]:
        """Names of packages whose one version is asked for."""
        return {canonical_name(parse_requirement(text).name) for text in self.texts if "==" in text}


def requirements_of(
    stack: Stack, image: Image, environment: Mapping[str, str]
) -> PythonRequirements:
    """The requirements of a stack's image on a target (`Target.environment`).

    Raises:
        RecipeInvalid: the manifest asks for another version of a package than the stack, or for a
            package that cannot stand beside one of the stack's.
    """
    own = [*_base_dependencies(environment)]
    versions = {canonical_name(one.name): one.version for one in stack.packages}
    pinned = {name: f"{name}=={version}" for name, version in versions.items()}
    replaced = {name: other for name, other in SAME_MODULE.items() if other in pinned}
    for text in image.packages:
        name = canonical_name(parse_requirement(text).name)
        if name in replaced:
            raise RecipeInvalid(
                f"[image] packages: {text!r} cannot be beside {replaced[name]} of {stack.name}: "
                "they install the same Python module; remove it from enginecrate.toml"
            )
        if name in pinned and pinned[name] != text.replace(" ", ""):
            raise RecipeInvalid(
                f"[image] packages: {text!r} is not the version of {stack.name}, {pinned[name]}; "
                "remove it from enginecrate.toml"
            )
    texts = {*own, *pinned.values(), *(text.replace(" ", "") for text in image.packages)}
    kept = [text for text in texts if canonical_name(parse_requirement(text).name) not in replaced]
    return PythonRequirements(tuple(sorted(kept)), replaced)


def _base_dependencies(environment: Mapping[str, str]) -> list[str]:
    """The dependencies of this very enginecrate, without those of its extras."""
    stated = importlib.metadata.requires("enginecrate") or []
    chosen = [one for one in map(parse_requirement, stated) if applies(one, environment)]
    return [str(one).partition(";")[0].strip() for one in chosen]
