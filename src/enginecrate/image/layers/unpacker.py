"""An unpacker of entries into an empty folder of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enginecrate.errors import ArchiveUnsafe
from enginecrate.image.layers.collection import collect
from enginecrate.image.layers.entries import Contents, Folder, LayerRecipe, Link, RegularFile

__all__ = ["unpack"]


def unpack(contents: Iterable[Contents], folder: Path) -> None:
    """Write files, folders and links. What `collect` refuses never touches the disk.

    Raises:
        ArchiveUnsafe, ArtifactChanged, RecipeInvalid: as `collect`; `OSError`.
    """
    for entry in collect(LayerRecipe("unpacked", tuple(contents))):
        path = folder / entry.path
        if not path.parent.resolve().is_relative_to(folder.resolve()):
            raise ArchiveUnsafe(f"{entry.path} would be written outside of {folder}")
        match entry:
            case Folder():
                path.mkdir(parents=True, exist_ok=True)
            case Link(_, target):
                path.symlink_to(target)
            case RegularFile():
                with path.open("xb") as file:
                    file.writelines(entry.pieces())
                path.chmod(entry.mode)
