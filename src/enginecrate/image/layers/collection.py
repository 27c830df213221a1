"""All entries of a layer, checked, with their parents, in the order of the archive."""

from __future__ import annotations

import posixpath

from enginecrate.errors import ArchiveUnsafe, RecipeInvalid
from enginecrate.image.layers.entries import Entry, Folder, LayerRecipe, Link, RegularFile
from enginecrate.image.layers.safe_paths import safe_path

__all__ = ["collect"]

_USERS = 65536


def collect(recipe: LayerRecipe) -> list[Entry]:
    """The entries sorted by path, so that a folder comes before what is in it.

    Raises:
        RecipeInvalid: two sources give the same path, or one gives a file where the other needs a
            folder; both are named.
        ArchiveUnsafe: a path or a mode that no image of ours may hold.
    """
    entries: dict[str, tuple[Entry, str]] = {}
    for contents in recipe:
        origin = str(contents)
        for entry in contents.entries():
            _check(entry, origin)
            _add(entries, entry, origin)
    for path in list(entries):
        _add_parents(entries, path)
    return [entries[path][0] for path in sorted(entries, key=str.encode)]


def _check(entry: Entry, origin: str) -> None:
    if not entry.path or safe_path(entry.path, origin) != entry.path:
        raise ArchiveUnsafe(f"{origin}: {entry.path!r} is not a clean relative path")
    if isinstance(entry, RegularFile) and entry.mode & ~0o755:
        raise ArchiveUnsafe(
            f"{origin}: {entry.path} has mode {entry.mode:o}; files of an image are never setuid, "
            "setgid or writable for others"
        )
    if isinstance(entry, Folder) and (entry.mode & ~0o1777 or not 0 <= entry.owner < _USERS):
        raise ArchiveUnsafe(
            f"{origin}: {entry.path} has mode {entry.mode:o} and owner {entry.owner}; a folder of "
            f"an image is never setgid, and its owner is below {_USERS}"
        )
    if isinstance(entry, Link):
        _check_link(entry, origin)


def _check_link(entry: Link, origin: str) -> None:
    depth = entry.path.count("/")
    for part in entry.target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise ArchiveUnsafe(f"{origin}: the link {entry.path} leads out of the image")


def _add(entries: dict[str, tuple[Entry, str]], entry: Entry, origin: str) -> None:
    have, first = entries.setdefault(entry.path, (entry, origin))
    if have is entry or (isinstance(have, Folder) and have == entry):
        return
    raise RecipeInvalid(
        f"both {first} and {origin} hold {entry.path}; only one of them may: leave it out of the "
        "other, or lock versions that do not overlap"
    )


def _add_parents(entries: dict[str, tuple[Entry, str]], path: str) -> None:
    origin = entries[path][1]
    while path := posixpath.dirname(path):
        have, first = entries.setdefault(path, (Folder(path), origin))
        if not isinstance(have, Folder):
            raise RecipeInvalid(
                f"{origin} needs the folder {path}, which is a file or a link of {first}; they "
                "cannot both be in one image"
            )
