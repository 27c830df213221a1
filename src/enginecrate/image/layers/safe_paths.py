"""Paths from archives, made safe: relative, without `..`, links that stay inside of the image."""

from __future__ import annotations

import posixpath
import unicodedata

from enginecrate.errors import ArchiveUnsafe

__all__ = ["link_target", "merged_usr", "safe_path"]

_TOP_LEVEL = {"bin", "lib", "lib32", "lib64", "libx32", "sbin"}
_MAX_LENGTH = 4096

# Terminals obey control characters, and overrides of the direction of writing make a name look like
# another one (Unicode Technical Report 36, "Bidirectional Text Spoofing").
_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
_KINDS = {
    "Cc": "a control character",
    "Cf": "it changes the direction of writing",
    "Cs": "bytes that are not UTF-8",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def safe_path(name: str, where: str) -> str:
    """A path of an archive as a path of the image; an empty one is the root itself.

    Raises:
        ArchiveUnsafe: it is absolute, climbs, or holds what no file name may hold.
    """
    _check_name(name, name, where)
    if name.startswith("/") or "\\" in name:
        raise ArchiveUnsafe(_unsafe(name, where))
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArchiveUnsafe(_unsafe(name, where))
    return "/".join(parts)


def merged_usr(path: str) -> str:
    """The path after Debian 12's merge: `lib/x` lies in `usr/lib/x`, and `lib` is a link."""
    top = path.partition("/")[0]
    return f"usr/{path}" if top in _TOP_LEVEL else path


def link_target(path: str, target: str, where: str, *, merge: bool = False) -> str:
    """The target of a symbolic link, relative to the link, so that it also works outside of `/`.

    Args:
        path: of the link.
        target: absolute, or relative to the link's folder.
        where: the archive, for the message.
        merge: the target is a path of a Debian package; see `merged_usr`.

    Raises:
        ArchiveUnsafe: it leads out of the image.
    """
    _check_name(target, f"{path} -> {target}", where)
    if not target:
        raise ArchiveUnsafe(_unsafe(f"{path} -> {target}", where))
    folder = posixpath.dirname(path)
    joined = posixpath.normpath(posixpath.join("/", folder, target))
    depth = len(folder.split("/")) if folder else 0
    climbs = sum(1 for part in target.split("/") if part == "..")
    if not target.startswith("/") and climbs > depth:
        raise ArchiveUnsafe(_unsafe(f"{path} -> {target}", where))
    inside = joined.lstrip("/")
    return posixpath.relpath(f"/{merged_usr(inside) if merge else inside}", f"/{folder}")


def _check_name(name: str, shown: str, where: str) -> None:
    """Raises `ArchiveUnsafe`. Spaces of any kind and all letters of the world are fine."""
    if len(name) > _MAX_LENGTH:
        raise ArchiveUnsafe(
            f"{where} holds a path of {len(name)} characters, {shown[:80]!r}..., and "
            f"{_MAX_LENGTH} are the most; give it a shorter name"
        )
    wrong = next(filter(_is_forbidden, name), "")
    if wrong:
        printable = where if where.isprintable() else ascii(where)
        raise ArchiveUnsafe(
            f"{printable} holds {shown!a}, whose name has the character U+{ord(wrong):04X} "
            f"({_KINDS[unicodedata.category(wrong)]}); give the file another name"
        )


def _is_forbidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or (
        unicodedata.bidirectional(character) in _OVERRIDES
    )


def _unsafe(name: str, where: str) -> str:
    return (
        f"{where} holds {name!r}, which would lie outside of the image; do not use this file, and "
        "lock another version of it"
    )
