"""The text of a lock: canonical TOML, one package a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from enginecrate.stacks.lock.schema import Lock, LockedImage

__all__ = ["render_lock"]


def render_lock(lock: Lock) -> bytes:
    """A lock as canonical TOML: the same lock gives the same bytes."""
    return ("\n".join(_lines(lock)) + "\n").encode()


def _lines(lock: Lock) -> Iterator[str]:
    yield "# Written by `enginecrate lock`. Keep it with the project, and do not edit it."
    yield f"format = {lock.format}"
    yield f"tool_version = {_text(lock.tool_version)}"
    yield f"manifest = {_text(lock.manifest)}"
    for stack in lock.stacks:
        yield from ("", "[[stacks]]")
        yield f"name = {_text(stack.name)}"
        yield f"digest = {_text(stack.digest)}"
        yield f"platforms = {_list(stack.platforms)}"
        yield f"minimum_driver = {_text(stack.minimum_driver)}"
        yield from ("", "[stacks.versions]")
        yield from (f"{name} = {_text(version)}" for name, version in stack.versions.items())
        for package in stack.packages:
            yield from ("", "[[stacks.packages]]")
            yield f"name = {_text(package.name)}"
            yield f"version = {_text(package.version)}"
    for image in lock.images:
        yield from _image_lines(image)


def _image_lines(image: LockedImage) -> Iterator[str]:
    """One package a line, so that a difference of two locks shows what changed."""
    yield from ("", "[[images]]")
    for name in ("stack", "platform", "base", "interpreter", "compression", "inputs"):
        yield f"{name} = {_text(getattr(image, name))}"
    for name in ("debs", "wheels"):
        yield f"{name} = ["
        yield from (f"  {_inline(package)}," for package in getattr(image, name))
        yield "]"


def _inline(package: msgspec.Struct) -> str:
    """A package as an inline table; both text and numbers are written as in JSON."""
    pairs = msgspec.structs.asdict(package).items()
    fields = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in pairs)
    return f"{{ {', '.join(fields)} }}"


def _list(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    """A basic string of TOML, which JSON's strings are, too."""
    return json.dumps(text, ensure_ascii=False)
