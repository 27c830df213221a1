"""The example clients that every image brings."""

from __future__ import annotations

from enginecrate.errors import RecipeInvalid
from enginecrate.version import PACKAGE_FOLDER

__all__ = ["client_files"]


def client_files() -> dict[str, bytes]:
    """Name and bytes of each client, sorted: from a source checkout, or from the installed package.

    Raises:
        RecipeInvalid: the program was installed without its samples.
    """
    for folder in (PACKAGE_FOLDER / "samples", PACKAGE_FOLDER.parents[1] / "samples"):
        found = sorted((folder / "clients").glob("*.py"))
        if found:
            return {path.name: path.read_bytes() for path in found}
    raise RecipeInvalid(
        f"the example clients are missing in {PACKAGE_FOLDER / 'samples'}; "
        "install enginecrate again"
    )
